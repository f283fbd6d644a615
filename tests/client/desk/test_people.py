"""Signing in over HTTP: what other pages are refused, what each role may ask, and what is noted."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from ward import BASE, NAME, PASSWORD, Browser, Ward, ward

from medquorum.client.accounts.roles import ROLES
from medquorum.client.audit_log import AuditLog
from medquorum.client.desk.app import desk_routes
from medquorum.client.desk.people import BROWSER, SESSION, STRANGER
from medquorum.client.desk.rooms import Rooms
from medquorum.client.desk.ruled import RuledRoute
from medquorum.client.keys import open_node_key
from medquorum.client.node import Node

from .conftest import Desk, fill, new_image

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def here(desk: Desk, tmp_path: Path) -> Generator[Ward]:
    """Three people at the desk, one in each role."""
    with ward(tmp_path, Rooms(desk.node.store, desk.node.releases)) as made:
        for role in ROLES:
            made.reader(f"the {role}", role)
        yield made


def inside(here: Ward, role: str = "reader") -> Browser:
    browser = here.browser()
    assert browser.sign_in(f"the {role}").status_code == 200
    return browser


def test_who_has_no_session_is_sent_to_the_sign_in(here: Ward) -> None:
    browser = here.browser()
    answer = browser.client.get("/study?s=1", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert browser.client.get("/login").status_code == 200
    assert browser.client.get("/api/about").status_code == 401


def test_cookies_stay_with_this_host_over_tls_and_out_of_scripts_reach(here: Ward) -> None:
    browser = here.browser()
    given = browser.client.get("/api/door").headers.get_list("set-cookie")
    given += browser.sign_in("the reader").headers.get_list("set-cookie")
    names = {one.partition("=")[0] for one in given}
    assert names == {SESSION.name, STRANGER.name, BROWSER.name}
    for one in given:
        said = [part.strip().lower() for part in one.split(";")]
        assert said[0].startswith("__host-")
        assert {"secure", "httponly", "samesite=strict", "path=/"} <= set(said)
        assert not any(part.startswith("domain") for part in said)


@pytest.mark.parametrize("path", ["/login", "/api/door", "/", "/api/about", "/static/login.js"])
def test_browsers_are_told_to_come_back_over_tls_only(here: Ward, path: str) -> None:
    answer = here.browser().client.get(path, follow_redirects=False)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "form-action 'none'" in answer.headers["content-security-policy"]


def test_the_session_is_a_new_one_whatever_the_browser_came_with(here: Ward) -> None:
    browser = here.browser()
    planted = "planted-by-somebody-else"
    browser.client.cookies.set(SESSION.name, planted, domain=NAME)
    answer = browser.sign_in("the reader")
    given = next(one for one in answer.headers.get_list("set-cookie") if one.startswith(f"{SESSION.name}="))
    first = given.partition("=")[2].partition(";")[0]
    assert first not in ("", planted)
    other = here.browser()
    other.client.cookies.set(SESSION.name, planted, domain=NAME)
    assert other.client.get("/api/about").status_code == 401
    again = here.browser()
    again.client.cookies.set(SESSION.name, first, domain=NAME)
    assert again.client.get("/api/about").status_code == 200
    again.sign_in("the lead")
    other.client.cookies.set(SESSION.name, first, domain=NAME)
    assert other.client.get("/api/about").status_code == 401, "the session before a sign-in is over"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-medquorum-csrf": ""},
        {"x-medquorum-csrf": "0" * 64},
        {"x-medquorum-csrf": "right", "origin": "https://evil.example"},
        {"x-medquorum-csrf": "right", "origin": "null"},
        {"x-medquorum-csrf": "right", "origin": f"http://{NAME}:8787"},
        {"x-medquorum-csrf": "right", "sec-fetch-site": "cross-site"},
        {"x-medquorum-csrf": "right", "sec-fetch-site": "same-site"},
        {"x-medquorum-csrf": "right", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
    ids=["none", "empty", "wrong", "other", "null", "plain", "cross-site", "same-site", "form"],
)
@pytest.mark.parametrize("path", ["/api/sign-in", "/api/enrol"])
def test_no_other_page_signs_a_reader_in(here: Ward, path: str, headers: dict[str, str]) -> None:
    browser = here.browser()
    word = browser.client.get("/api/door").json()["csrf"]
    sent = {name: word if value == "right" else value for name, value in headers.items()}
    body = {"name": "the reader", "password": PASSWORD, **({"code": "x"} if path == "/api/enrol" else {})}
    answer = browser.client.post(path, json=body, headers=sent)
    assert answer.status_code == 403
    assert answer.json()["error"] in (
        "this change did not come from the page itself",
        "requests of other pages are refused",
    )
    assert browser.client.get("/api/about").status_code == 401


def test_the_word_of_another_browser_does_not_sign_in(here: Ward) -> None:
    word = here.browser().client.get("/api/door").json()["csrf"]
    for cookies in (False, True):
        browser = here.browser()
        if cookies:
            browser.client.get("/api/door")
        body = {"name": "the reader", "password": PASSWORD}
        answer = browser.client.post("/api/sign-in", json=body, headers={"x-medquorum-csrf": word, "origin": BASE})
        assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/api/accounts", "/api/password", "/api/say", "/leave"])
def test_no_other_page_changes_anything_for_who_is_inside(here: Ward, path: str) -> None:
    browser = inside(here, "admin")
    door = browser.client.get("/api/door").json()["csrf"]
    for word, origin in (("", BASE), ("0" * 64, BASE), (door, BASE), ("right", "https://evil.example")):
        right = browser.client.get("/api/about").json()["csrf"]
        headers = {"x-medquorum-csrf": right if word == "right" else word, "origin": origin}
        body = {"do": "disable", "name": "the reader"}
        assert browser.client.post(path, json=body, headers=headers).status_code == 403
    assert here.browser().sign_in("the reader").status_code == 200


def test_a_link_from_elsewhere_leads_to_the_sign_in_and_no_further(here: Ward) -> None:
    browser = inside(here)
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    answer = browser.client.get("/", headers=followed, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert browser.client.get("/login", headers=followed).status_code == 200
    for path in ("/study", "/api/about", "/api/door", "/accounts", "/static/login.js"):
        assert browser.client.get(path, headers=followed).status_code == 403
    assert browser.client.get("/login", headers={**followed, "sec-fetch-mode": "no-cors"}).status_code == 403


def test_guessing_is_told_how_long_to_wait(here: Ward) -> None:
    browser = here.browser()
    for _ in range(5):
        answer = browser.sign_in("the reader", "not the right password")
        assert answer.status_code == 403
    slowed = browser.sign_in("the reader")
    assert (slowed.status_code, slowed.headers["retry-after"], slowed.json()["seconds"]) == (429, "1", 1)
    claimed = browser.client.post(
        "/api/sign-in",
        json={"name": "the reader", "password": PASSWORD},
        headers={"x-medquorum-csrf": browser.client.get("/api/door").json()["csrf"], "x-forwarded-for": "10.9.9.9"},
    )
    assert claimed.status_code == 429


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"name": 1, "password": "x"}',
        b'{"name": "x"}',
        b"x" * 20_000,
        b'{"name": "x", "password": "y", "z": 1}',
    ],
)
def test_what_is_no_sign_in_is_refused_without_a_fault(here: Ward, body: bytes) -> None:
    browser = here.browser()
    word = browser.client.get("/api/door").json()["csrf"]
    answer = browser.client.post("/api/sign-in", content=body, headers={"x-medquorum-csrf": word})
    assert answer.status_code == 422


def test_an_admin_keeps_the_accounts(here: Ward) -> None:
    admin = inside(here, "admin")
    code = admin.post("/api/accounts", {"do": "add", "name": "Cleo", "role": "lead"}).json()["code"]
    cleo = here.browser("10.0.0.20")
    assert cleo.post("/api/enrol", {"name": "cleo", "code": code, "password": PASSWORD}).status_code == 200
    assert cleo.client.get("/api/about").json()["role"] == "lead"
    listed = {one["name"]: one for one in admin.client.get("/api/accounts").json()["accounts"]}
    assert listed["Cleo"]["sessions"] == 1
    assert "password" not in json.dumps(listed)
    for change in ({"do": "role", "role": "reader"}, {"do": "sign_out"}, {"do": "code"}, {"do": "disable"}):
        code = admin.post("/api/accounts", {**change, "name": "Cleo"}).json()["code"]
        assert cleo.client.get("/api/about").status_code == 401
        if change["do"] == "code":
            assert cleo.post("/api/enrol", {"name": "Cleo", "code": code, "password": PASSWORD}).status_code == 200
        elif change["do"] != "disable":
            assert cleo.sign_in("Cleo").status_code == 200
    assert cleo.sign_in("Cleo").status_code == 403
    assert admin.post("/api/accounts", {"do": "enable", "name": "Cleo"}).status_code == 200
    assert cleo.sign_in("Cleo").status_code == 200
    refused = admin.post("/api/accounts", {"do": "disable", "name": "the admin"})
    assert (refused.status_code, "last admin" in refused.json()["error"]) == (409, True)
    by = {(who, what["step"]) for who, what in here.noted.of("account") if what["account"] == "Cleo"}
    assert by == {("the admin", step) for step in ("add", "role", "sign_out", "code", "disable", "enable")}


def test_a_reader_changes_their_own_password(here: Ward) -> None:
    browser, other = inside(here), inside(here)
    new = "harbour bridges hum at noon"
    assert browser.post("/api/password", {"old": "wrong", "new": new}).status_code == 403
    assert browser.post("/api/password", {"old": PASSWORD, "new": "short"}).status_code == 422
    assert browser.post("/api/password", {"old": PASSWORD, "new": new}).status_code == 200
    assert browser.client.get("/api/about").status_code == 200
    assert other.client.get("/api/about").status_code == 401
    assert here.browser("10.0.0.30").sign_in("the reader", new).status_code == 200


@pytest.mark.parametrize("name", [EVIL, "a<b", "x' onmouseover='alert(1)'>", "\u202eanna"])
def test_markup_is_no_name_and_comes_back_from_nowhere(here: Ward, name: str) -> None:
    admin = inside(here, "admin")
    answer = admin.post("/api/accounts", {"do": "add", "name": name})
    assert answer.status_code == 422
    assert name not in answer.text
    assert here.browser().sign_in(name).status_code == 403
    assert all(what.get("account") != name for _, what in here.noted.of("account"))


def test_markup_that_lies_in_the_accounts_is_data_and_never_a_page(here: Ward) -> None:
    with here.book.writing() as database:
        database.execute("INSERT INTO account (folded, name, role, made) VALUES ('e', ?, 'reader', 0)", (EVIL,))
    admin = inside(here, "admin")
    answer = admin.client.get("/api/accounts")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert EVIL in {one["name"] for one in answer.json()["accounts"]}
    assert EVIL not in admin.client.get("/accounts").text


def test_the_opening_of_a_study_is_noted_once_in_a_session(desk: Desk, here: Ward) -> None:
    study = desk.study(desk.images[0])["study"]
    here.rooms = Rooms(desk.node.store, desk.node.releases, here.noted)
    for _ in range(2):
        browser = inside(here)
        for path in (f"/api/study/{study}", f"/api/image/{desk.images[0]}/0", f"/api/study/{study}?first=1"):
            assert browser.client.get(path).status_code == 200
    inside(here, "lead").client.get(f"/api/image/{desk.images[0]}/0")
    assert here.noted.of("access") == [
        ("the reader", {"by": "desk", "study": study}),
        ("the reader", {"by": "desk", "study": study}),
        ("the lead", {"by": "desk", "study": study}),
    ]


def test_what_is_not_there_is_not_noted_and_what_cannot_be_noted_is_not_shown(
    desk: Desk, here: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = desk.study(desk.images[0])["study"]
    here.rooms = Rooms(desk.node.store, desk.node.releases, here.noted)
    browser = inside(here)
    assert browser.client.get("/api/study/" + "0" * 32).status_code == 404
    assert here.noted.of("access") == []

    def full(*_: object, **__: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(here.noted, "append", full)
    for path in (f"/api/study/{study}", f"/api/image/{desk.images[0]}/0", f"/api/heatmap/{desk.images[0]}/nodule"):
        answer = browser.client.get(path)
        assert answer.status_code == 500
        assert "P0" not in answer.text


def test_the_node_s_own_log_names_readers_and_no_patient(tmp_path: Path) -> None:
    with Node.create(tmp_path / "node", "A", held_out_share=0.0) as node:
        (image,) = fill(node, [new_image(0, "P0")])
        with ward(tmp_path, Rooms(node.store, node.releases)) as here:
            here.reader("the reader")
            assert inside(here).client.get(f"/api/image/{image}/0").status_code == 200
        log = AuditLog(node.store.folder, open_node_key(node.store.folder))
        (found,) = [entry for entry in log.entries() if entry.kind == "access" and entry.who == "the reader"]
        assert set(found.what) == {"by", "study"}
        assert found.what["study"] in {row.study for row in node.store.desk().images()}


def test_two_readers_have_rooms_of_their_own(desk: Desk, here: Ward) -> None:
    reader, lead = inside(here), inside(here, "lead")
    image = desk.images[5]
    for browser, state in ((reader, "present"), (lead, "absent")):
        answer = browser.post("/api/say", desk.action(image, states={"nodule": state}))
        assert answer.status_code == 200
    study = desk.study(image)["study"]
    for browser, state in ((reader, "present"), (lead, "absent")):
        (found,) = browser.client.get(f"/api/study/{study}").json()["images"]
        assert [one["states"] for one in found["lines"]["0"]["said"]] == [{"nodule": state}]
        assert found["others"] >= 1


# --- every route ---


def routes(here: Ward) -> list[RuledRoute]:
    assert here.rooms is not None
    return desk_routes(here.rooms, here.door)


# Who may use what. A page or question that is new is put here by whoever adds it, with a reason to be found in review.
OPEN = {"/login", "/api/door", "/api/sign-in", "/api/enrol", "/static/{name}"}
ADMIN = {"/api/accounts"}


def test_every_route_has_its_rule(here: Ward) -> None:
    for route in routes(here):
        assert isinstance(route, RuledRoute), route
        expected = "nobody" if route.path in OPEN else "admin" if route.path in ADMIN else "reader"
        assert route.needs == expected, route.path
    assert {route.path for route in routes(here)} >= OPEN | ADMIN
    assert {path for path in OPEN if "{" not in path} == set(here.door.open_paths)


def asked(browser: Browser, route: RuledRoute) -> int:
    """What a browser is answered to a route, with something that is not there wherever it names something."""
    path = route.path.replace("{frame:int}", "0").replace("{study}", "x").replace("{image}", "x")
    path = path.replace("{finding}", "x").replace("{name}", "nothing.js")
    assert "{" not in path, f"say what to ask {route.path} for"
    methods = (route.methods or set[Any]()) - {"HEAD"}
    if methods == {"GET"}:
        return browser.client.get(path, follow_redirects=False).status_code
    return browser.post(path, {}).status_code


def test_without_a_session_nothing_but_the_door_answers(here: Ward) -> None:
    for route in routes(here):
        status = asked(here.browser(), route)
        if route.needs == "nobody":
            assert status not in (401, 403), route.path
        else:
            assert status in (303, 401), route.path


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_what_it_may(here: Ward, role: str) -> None:
    for route in (one for one in routes(here) if one.needs != "nobody"):
        status = asked(inside(here, role), route)
        if route.needs == "admin" and role != "admin":
            assert status == 403, route.path
        else:
            assert status not in (401, 500), route.path
            # What is for leads is refused by the room itself.
            assert status != 403 or role == "reader", route.path


def test_two_readers_save_one_study_at_once_and_lose_nothing(desk: Desk, here: Ward) -> None:
    people = {name: inside(here, name) for name in ("reader", "lead")}
    image = desk.images[6]
    before = len(desk.node.store.history(image))
    sent = {name: [desk.action(image, comment=f"{name} {number}") for number in range(10)] for name in people}
    together, answers = threading.Barrier(len(people)), list[int]()

    def save(name: str) -> None:
        browser = people[name]
        headers = {"x-medquorum-csrf": browser.client.get("/api/about").json()["csrf"], "origin": BASE}
        together.wait()
        for action in sent[name]:
            answers.append(browser.client.post("/api/say", json=action, headers=headers).status_code)

    threads = [threading.Thread(target=save, args=(name,)) for name in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20
    history = desk.node.store.history(image)[before:]
    for name in people:
        mine = [one for one in history if one.reader == f"the {name}"]
        assert [one.id for one in mine] == [action["id"] for action in sent[name]]
        assert [one.supersedes for one in mine[1:]] == [one.id for one in mine[:-1]], "each follows the reader's own"
    desk.node.store.verify()


@pytest.mark.parametrize("text", [EVIL, "</textarea><script>alert(1)</script>"])
def test_markup_in_a_comment_comes_back_as_data(desk: Desk, here: Ward, text: str) -> None:
    browser = inside(here)
    answer = browser.post("/api/say", desk.action(desk.images[7], comment=text))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["said"][-1]["comment"] == text
