"""The settings of the hospital's identity provider: one TOML file, read strictly when the desk is started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ....toml_table import Table
from ..errors import AccountError, SignInError
from ..roles import ROLES, Role


class OidcSettingsError(AccountError):
    """The identity provider's settings cannot be used as they are."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """issuer: as the provider spells itself, https. client_secret: "" for a client without one. name_claim: what
    becomes the reader's name. groups_claim: the list of groups; roles: which of them have which role. authority: the
    PEM file of who signed the provider's certificate; None: who this system trusts. scopes: what is asked for."""

    issuer: str
    client_id: str
    client_secret: str
    name_claim: str
    groups_claim: str
    roles: tuple[tuple[Role, tuple[str, ...]], ...]
    authority: Path | None
    scopes: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> OidcSettings:
        """Read and check the file. Raises OidcSettingsError, which names file, key and fix."""
        table = Table.read(path, OidcSettingsError, "identity provider settings")
        issuer = table.text("issuer")
        if not is_https(issuer) or urlsplit(issuer).query or urlsplit(issuer).fragment:
            raise table.fault("issuer", f"{issuer!r} is no https address", "give it as the provider spells it")
        secret_file = table.text("client_secret_file", "")
        named = table.table("roles")
        roles: tuple[tuple[Role, tuple[str, ...]], ...] = tuple((role, named.texts(role, ())) for role in ROLES)
        named.done()
        if not any(groups for _, groups in roles):
            raise table.fault("roles", "no group has a role", 'add such as reader = ["radiology"]')
        authority = table.text("authority", "")
        made = cls(
            issuer,
            table.text("client_id"),
            _secret(table, path.parent / secret_file) if secret_file else "",
            table.text("name_claim", "preferred_username"),
            table.text("groups_claim", "groups"),
            roles,
            path.parent / authority if authority else None,
            table.texts("scopes", ("openid", "profile")),
        )
        table.done()
        if "openid" not in made.scopes:
            raise table.fault("scopes", "without openid nobody says who signs in", 'add "openid"')
        return made

    def role(self, groups: Iterable[str]) -> Role:
        """The highest role that somebody's groups have here. Raises SignInError when none has any."""
        theirs = set(groups)
        for role, named in reversed(self.roles):
            if theirs & set(named):
                return role
        raise SignInError(
            "you are in none of the groups that may read here", fix="ask the hospital's IT for the group, then sign in"
        )


def is_https(address: str) -> bool:
    """Whether this is an https address with a host and without a user."""
    try:
        parts = urlsplit(address)
        return parts.scheme == "https" and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False


def _secret(table: Table, path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise table.fault("client_secret_file", f"{path} is open to other users", f"chmod 600 {path}")
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise table.fault("client_secret_file", f"{path} cannot be read ({fault})", "name the secret's file") from None
    if not secret:
        raise table.fault("client_secret_file", f"{path} is empty", "write the client's secret into it")
    return secret
