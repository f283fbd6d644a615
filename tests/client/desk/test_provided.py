"""Signing in with the hospital's provider, as a browser goes through it."""

from __future__ import annotations

import ssl
from collections.abc import Generator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from provider import CLIENT, SECRET, Idp, provider
from starlette.testclient import TestClient
from ward import BASE, NAME, Browser, Ward, ward

from medquorum.client.desk.app import desk_app
from medquorum.client.desk.exposure import Exposure
from medquorum.client.desk.people import SESSION
from medquorum.client.desk.provided import PeopleFromProvider
from medquorum.client.desk.rooms import Rooms
from medquorum.client.desk.serving import people

from .conftest import Desk


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Generator[Idp]:
    folder = tmp_path_factory.mktemp("idp")
    with provider(folder) as found:
        (folder / "secret").write_text(SECRET)
        (folder / "secret").chmod(0o600)
        lines = (
            f'issuer = "{found.issuer}"\nclient_id = "{CLIENT}"',
            'client_secret_file = "secret"\nauthority = "authority.pem"',
            '[roles]\nreader = ["radiology"]\nadmin = ["it"]',
        )
        (folder / "oidc.toml").write_text("\n".join(lines))
        found.folder = folder
        yield found


@pytest.fixture
def here(desk: Desk, idp: Idp, tmp_path: Path) -> Generator[Ward]:
    """A ward whose readers come from the provider, as the command sets it up."""
    with ward(tmp_path, Rooms(desk.node.store, desk.node.releases)) as made:
        exposure = Exposure("127.0.0.1:0", (NAME,), None, None, idp.folder / "oidc.toml")
        door = people(made.book, desk.node.store, exposure, BASE)
        assert isinstance(door, PeopleFromProvider)
        made.provided = door
        yield made


def browser(here: Ward) -> Browser:
    assert here.rooms is not None and here.provided is not None
    app = desk_app(here.rooms, here.provided, [f"{NAME}:8787"])
    return Browser(TestClient(app, base_url=BASE, raise_server_exceptions=False))


def there(idp: Idp, to: str) -> dict[str, str]:
    """What the provider gives the browser to take back."""
    context = ssl.create_default_context(cafile=idp.folder / "authority.pem")
    answer = httpx.get(to, verify=context, follow_redirects=False)
    back = urlsplit(answer.headers["location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == f"{BASE}/signed-in"
    return {name: values[0] for name, values in parse_qs(back.query).items()}


def test_a_reader_signs_in_there_and_reads_here(here: Ward, idp: Idp) -> None:
    reader = browser(here)
    assert reader.client.get("/", follow_redirects=False).headers["location"] == "/login"
    assert reader.client.get("/api/door").json()["provider"] is True
    to = reader.post("/api/provider", {}).json()["to"]
    assert to.startswith(f"{idp.issuer}/auth?")
    given = there(idp, to)
    cross = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    page = reader.client.get(f"/signed-in?code={given['code']}&state={given['state']}", headers=cross)
    assert page.status_code == 200
    assert "set-cookie" not in page.headers, "the page alone signs nobody in"
    assert reader.client.get("/api/about").status_code == 401
    assert reader.post("/api/provider/finish", given).status_code == 200
    about = reader.client.get("/api/about").json()
    assert (about["reader"], about["role"], about["provider"]) == ("anna", "reader", True)
    assert SESSION.name in reader.client.cookies


def test_what_another_browser_brought_back_signs_nobody_in(here: Ward, idp: Idp) -> None:
    attacker, victim = browser(here), browser(here)
    given = there(idp, attacker.post("/api/provider", {}).json()["to"])
    answer = victim.post("/api/provider/finish", given)
    assert (answer.status_code, "not begun in this browser" in answer.json()["error"]) == (403, True)
    word = victim.client.get("/api/door").json()["csrf"]
    forged = victim.client.post(
        "/api/provider/finish", json=given, headers={"x-medquorum-csrf": word, "origin": "https://evil.example"}
    )
    assert forged.status_code == 403
    assert victim.client.get("/api/about").status_code == 401


def test_passwords_are_not_asked_for_where_the_provider_is(here: Ward) -> None:
    reader = browser(here)
    for path in ("/api/sign-in", "/api/enrol", "/api/password"):
        assert reader.post(path, {"name": "x", "password": "y"}).status_code in (401, 404)


def test_a_provider_that_is_away_is_said_so_and_nobody_gets_in(here: Ward, idp: Idp) -> None:
    reader = browser(here)
    idp.description = {"issuer": "https://evil.example"}
    try:
        answer = reader.post("/api/provider", {})
    finally:
        idp.description = {}
    assert answer.status_code == 503
    assert "identity provider cannot be used" in answer.json()["error"]
