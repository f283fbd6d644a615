"""Signing in with a hospital's identity provider: a real one on loopback, honest and otherwise."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import ECKey, RSAKey
from provider import CLIENT, SECRET, Idp, provider
from ward import Ward, ward

from medquorum.client.accounts.errors import SignInError
from medquorum.client.accounts.oidc.flow import Flow
from medquorum.client.accounts.oidc.provider import Provider, ProviderError
from medquorum.client.accounts.oidc.settings import OidcSettings, OidcSettingsError
from medquorum.client.accounts.passwords import Hasher
from medquorum.client.accounts.sessions import Admission
from medquorum.client.accounts.signing_in import SigningIn

BACK = "https://reading.hospital.example:8787/signed-in"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the provider's authority and the client's secret."""
    folder = tmp_path_factory.mktemp("idp")
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "secret").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def running(place: Path) -> Generator[Idp]:
    with provider(place) as found:
        yield found


@pytest.fixture
def idp(running: Idp) -> Idp:
    """The provider, honest again."""
    honest = Idp(0)
    for name in ("claims", "description", "algorithm", "who"):
        setattr(running, name, getattr(honest, name))
    running.key = RSAKey.generate_key(2048, {"kid": "one"}) if running.key.kid != "one" else running.key
    running.listed = [running.key]
    return running


def written(place: Path, address: str, **changes: str) -> Path:
    given = {
        "issuer": f'"{address}"',
        "client_id": f'"{CLIENT}"',
        "client_secret_file": '"secret"',
        "authority": '"authority.pem"',
        **changes,
    }
    lines = [f"{name} = {value}" for name, value in given.items() if value and name != "roles"]
    roles = changes.get("roles", 'reader = ["radiology", "trainees"]\nlead = ["leads"]\nadmin = ["it"]')
    path = place / "oidc.toml"
    path.write_text("\n".join([*lines, "[roles]", roles]) + "\n")
    return path


@dataclass
class Site:
    """A site whose readers come from the provider."""

    idp: Idp
    settings: OidcSettings
    flow: Flow
    here: Ward

    def sign_in(self, stranger: str = "cookie", change: Callable[[dict[str, str]], object] | None = None) -> Admission:
        """What a browser does: leaves, signs in there, and comes back with what it was given."""
        to = self.flow.leave(stranger)
        answer = httpx.get(to, verify=_context(self.settings), follow_redirects=False)
        given = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
        if change is not None:
            change(given)
        return self.flow.come_back(given.get("cookie", stranger), given["code"], given["state"], given.get("iss"))


def _context(settings: OidcSettings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.authority)


@pytest.fixture
def site(idp: Idp, place: Path, tmp_path: Path) -> Generator[Site]:
    settings = OidcSettings.read(written(place, idp.issuer))
    with ward(tmp_path) as here:
        signing_in = SigningIn(here.book, here.noted, provider=True, hasher=Hasher())
        yield Site(idp, settings, Flow(settings, Provider(settings), signing_in, BACK), here)


def test_who_the_provider_knows_is_let_in_under_their_group_s_role(site: Site) -> None:
    admission = site.sign_in()
    assert (admission.name, admission.role) == ("anna", "reader")
    site.idp.who = {**site.idp.who, "groups": ["trainees", "it", "others"]}
    assert site.sign_in().role == "admin"
    assert [(one.name, one.standing) for one in site.here.accounts.all()] == [("anna", "provider")]


def test_the_browser_is_sent_with_state_nonce_and_pkce_and_no_secret(site: Site) -> None:
    first, second = (parse_qs(urlsplit(site.flow.leave("cookie")).query) for _ in range(2))
    assert first["response_type"] == ["code"]
    assert first["code_challenge_method"] == ["S256"]
    assert first["redirect_uri"] == [BACK]
    assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))
    assert SECRET not in str(first)


WRONG: dict[str, dict[str, Any]] = {
    "nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "audience": {"aud": "another-client"},
    "audiences": {"aud": [CLIENT, "another"], "azp": "another"},
    "azp missing": {"aud": [CLIENT, "another"]},
    "issuer": {"iss": "https://evil.example/realm"},
    "issuers": {"iss": ["https://evil.example/realm"]},
    "expired": {"exp": 1_000_000_000},
    "no expiry": {"exp": None},
    "from the future": {"iat": 4_000_000_000},
    "not yet": {"nbf": 4_000_000_000},
    "nobody": {"sub": None},
    "no name": {"preferred_username": None},
    "name of another kind": {"preferred_username": ["anna"]},
    "no groups": {"groups": None},
    "groups of another kind": {"groups": {"radiology": True}},
    "unknown group": {"groups": ["surgery"]},
    "groups that begin alike": {"groups": ["radiology2", ["radiology"]]},
    "another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_an_id_token_that_does_not_hold_lets_nobody_in(site: Site, what: str) -> None:
    site.idp.claims = WRONG[what]
    with pytest.raises(SignInError):
        site.sign_in()
    assert site.here.accounts.all() == []


def test_a_list_of_issuers_with_the_right_one_is_no_issuer(site: Site) -> None:
    site.idp.claims = {"iss": [site.idp.issuer, "https://evil.example"]}
    with pytest.raises(SignInError):
        site.sign_in()


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_that_anybody_could_have_made_is_refused(site: Site, algorithm: str) -> None:
    site.idp.algorithm = algorithm
    with pytest.raises(SignInError, match="does not hold"):
        site.sign_in()


def test_a_token_of_another_key_is_refused_under_the_same_name(site: Site) -> None:
    site.idp.key = RSAKey.generate_key(2048, {"kid": "one"})
    with pytest.raises(SignInError, match="does not hold"):
        site.sign_in()


def test_keys_that_changed_are_asked_for_again_but_not_for_every_token(site: Site) -> None:
    site.sign_in()
    site.idp.key = ECKey.generate_key("P-256", {"kid": "two"})
    site.idp.listed, site.idp.algorithm = [site.idp.key], "ES256"
    before = site.idp.asked.count("/realm/keys")
    with pytest.raises(SignInError):  # within the minute
        site.sign_in()
    assert site.idp.asked.count("/realm/keys") == before
    signing_in = SigningIn(site.here.book, site.here.noted, provider=True)
    later = Flow(site.settings, Provider(site.settings), signing_in, BACK)
    assert replace(site, flow=later).sign_in().name == "anna"


CHANGED: dict[str, Callable[[dict[str, str]], object]] = {
    "another state": lambda given: given.update(state="x"),
    "another browser": lambda given: given.update(cookie="another"),
    "another code": lambda given: given.update(code="x"),
    "another issuer": lambda given: given.update(iss="https://evil.example"),
}


@pytest.mark.parametrize("what", sorted(CHANGED))
def test_what_was_changed_on_the_way_back_lets_nobody_in(site: Site, what: str) -> None:
    with pytest.raises(SignInError):
        site.sign_in(change=CHANGED[what])
    assert site.here.accounts.all() == []


def test_coming_back_works_once_and_for_ten_minutes(site: Site) -> None:
    kept: dict[str, str] = {}
    site.sign_in(change=kept.update)
    with pytest.raises(SignInError, match="not begun in this browser"):
        site.flow.come_back("cookie", kept["code"], kept["state"], None)
    now = [1000.0]
    signing_in = SigningIn(site.here.book, site.here.noted, provider=True)
    slow = Flow(site.settings, Provider(site.settings), signing_in, BACK, lambda: now[0])

    def wait(_: dict[str, str]) -> None:
        now[0] += 601.0

    with pytest.raises(SignInError, match="not begun in this browser just now"):
        replace(site, flow=slow).sign_in(change=wait)


def test_a_provider_that_names_itself_must_do_so(site: Site) -> None:
    site.idp.description = {"authorization_response_iss_parameter_supported": True}
    with pytest.raises(SignInError, match="another provider"):
        site.sign_in()
    assert site.sign_in(change=lambda given: given.update(iss=site.idp.issuer)).name == "anna"


@pytest.mark.parametrize(
    "description",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "https://evil.example/token"},
        {"token_endpoint": "http://localhost/token"},
        {"jwks_uri": "https://localhost.evil.example/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": 7},
        {"jwks_uri": None},
    ],
    ids=["issuer", "token", "plain", "keys", "script", "number", "nothing"],
)
def test_addresses_that_are_not_the_issuer_s_own_are_not_used(site: Site, description: dict[str, Any]) -> None:
    site.idp.description = description
    with pytest.raises(ProviderError):
        site.flow.leave("cookie")


def test_what_it_says_of_itself_is_asked_once(site: Site) -> None:
    site.sign_in()
    before = len(site.idp.asked)
    site.sign_in()
    assert [path for path in site.idp.asked[before:] if not path.endswith("/auth")] == []


def test_a_provider_whose_certificate_nobody_vouches_for_is_not_believed(idp: Idp, place: Path) -> None:
    settings = replace(OidcSettings.read(written(place, idp.issuer)), authority=None)
    with pytest.raises(ProviderError, match="does not answer"):
        Provider(settings).endpoints()


def test_a_wrong_secret_is_said_and_not_shown(site: Site) -> None:
    settings = replace(site.settings, client_secret="wrong")
    signing_in = SigningIn(site.here.book, site.here.noted, provider=True)
    with pytest.raises(SignInError, match="invalid_client") as found:
        replace(site, flow=Flow(settings, Provider(settings), signing_in, BACK)).sign_in()
    assert "wrong" not in str(found.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"issuer": '"http://idp.example"'}, "no https address"),
        ({"issuer": '"https://user@idp.example"'}, "no https address"),
        ({"client_id": ""}, "missing"),
        ({"client_secret_file": '"nowhere"'}, "cannot be read"),
        ({"client_secret_file": '"open"'}, "open to other users"),
        ({"client_secret_file": '"empty"'}, "is empty"),
        ({"roles": ""}, "no group has a role"),
        ({"roles": 'boss = ["it"]\nreader = ["x"]'}, "unknown"),
        ({"colour": '"red"'}, "unknown"),
        ({"scopes": '["profile"]'}, "openid"),
    ],
)
def test_settings_that_make_no_sense_are_refused(place: Path, changes: dict[str, str], says: str) -> None:
    (place / "open").write_text("x")
    (place / "open").chmod(0o644)
    (place / "empty").touch(0o600)
    with pytest.raises(OidcSettingsError, match=says):
        OidcSettings.read(written(place, "https://idp.example", **changes))
