"""A node's network side on disk: where the coordinator is, the keys it authenticates with, and whom it trusts.

Everything lies in the node's own folder. The identity is sealed under a key derived from the node's key; the P-384 key
that Flower's authentication needs is worthless elsewhere and lies beside it, readable by the node's user alone.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ...privacy import wire
from ...privacy.errors import PrivacyError
from ...privacy.identity import Identity, fingerprint
from ...privacy.roster import Roster, found, open_roster, sign_roster
from ..keys import NodeKey
from ..trust import Trust
from .errors import SettingsError, UntrustedError
from .fleet import Endpoint

ADMIT = "run medquorum node enrol first"


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Whom this node talks to: the consortium's name, host:port, a proxy ("" for none), and the coordinator's public
    key (Ed25519, 32 bytes), which is pinned: plans count only under its signature."""

    consortium: str
    address: str
    proxy: str
    key: bytes


class NetworkSettings:
    """The network side of the node in `folder`, opened with the node's key."""

    def __init__(self, folder: Path, key: NodeKey) -> None:
        self._folder = folder / "network"
        self._secret = key.derive("identity file")

    @property
    def authority(self) -> Path:
        """The consortium authority's certificate (PEM)."""
        return self._folder / "authority.pem"

    @property
    def flower_number(self) -> Path:
        """Where the number is kept that Flower gave this node."""
        return self._folder / "flower.number"

    @property
    def has_keys(self) -> bool:
        """Whether this node has an identity yet."""
        return (self._folder / "identity").exists()

    def create_keys(self) -> None:
        """Make the site's identity and the node's Flower key; SettingsError when there are any."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if self.has_keys:
            raise SettingsError("this node has an identity already", where=str(self._folder))
        Identity.create().save(self._folder / "identity", self._secret)
        pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._write("flower.key", pem)

    def identity(self) -> Identity:
        """The site's identity; IdentityError when it is missing or sealed under another key."""
        return Identity.load(self._folder / "identity", self._secret)

    def flower_key(self) -> ec.EllipticCurvePrivateKey:
        """The key that authenticates this node to Flower; SettingsError when it is missing or something else."""
        path = self._folder / "flower.key"
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as fault:
            raise SettingsError(
                f"the node's Flower key cannot be read ({fault})", where=str(path), fix=ADMIT
            ) from fault
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise SettingsError("the node's Flower key is of another kind", where=str(path), fix=ADMIT)
        return key

    def join(self, site: str, coordinator: Coordinator, authority: bytes) -> None:
        """Remember the coordinator and begin a roster with this site alone, unless there is one already.

        Raises UntrustedError when another key is pinned: only a person may decide that it is replaced.
        """
        path = self._folder / "coordinator.cbor"
        if path.exists() and self.coordinator().key != coordinator.key:
            raise UntrustedError(
                f"the coordinator shows another identity ({' '.join(fingerprint(coordinator.key))}) than the one that "
                f"this node pinned ({' '.join(fingerprint(self.coordinator().key))})",
                where=coordinator.address,
                fix=f"telephone the operator; only if the new words are theirs, remove {path} and enrol again",
            )
        self._write("authority.pem", authority)
        self._write("coordinator.cbor", wire.encode(coordinator))
        if not (self._folder / "roster.cbor").exists():
            self.keep_roster(found(coordinator.consortium, site, self.identity().public, int(time.time())))

    def coordinator(self) -> Coordinator:
        """Whom this node talks to; SettingsError before `join`."""
        path = self._folder / "coordinator.cbor"
        try:
            return wire.decode(Coordinator, path.read_bytes())
        except (OSError, PrivacyError) as fault:
            raise SettingsError("this node has not joined a consortium", where=str(path), fix=ADMIT) from fault

    def endpoint(self) -> Endpoint:
        """Where to connect to, and how to know it."""
        coordinator = self.coordinator()
        return Endpoint(coordinator.address, self.authority, coordinator.proxy or None)

    def trust(self) -> Trust:
        """Whom this node believes and as whom it speaks; SettingsError before `join`."""
        coordinator = self.coordinator()
        return Trust(coordinator.consortium, coordinator.key, self.identity())

    def roster(self) -> Roster:
        """The sites that this node's admin trusts; RosterError when it was altered, SettingsError before `join`."""
        path = self._folder / "roster.cbor"
        try:
            held = path.read_bytes()
        except OSError as fault:
            raise SettingsError("this node has no roster", where=str(path), fix=ADMIT) from fault
        return open_roster(held, self.identity().public)

    def keep_roster(self, roster: Roster) -> None:
        """Store a roster under this node's own signature."""
        self._write("roster.cbor", sign_roster(self.identity(), roster))

    def _write(self, name: str, content: bytes) -> None:
        path, beside = self._folder / name, self._folder / f".{name}.new"
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
