"""Who gets in, what other pages are refused, and what every answer carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from medquorum.client.desk.guard import HEADERS, csrf
from medquorum.client.desk.printed import PrintedDoor
from medquorum.client.desk.sessions import Sessions

from .conftest import HOST, Desk, visitor

COOKIE = PrintedDoor.cookie.name
PATHS = (
    "/",
    "/study",
    "/quarantine",
    "/adjudication",
    "/quality",
    "/api/about",
    "/api/worklist",
    "/api/quarantine",
    "/api/study/x",
    "/api/image/x/0",
    "/api/heatmap/x/nodule",
    "/api/disputes",
    "/api/adjudication/x",
    "/api/send-back",
    "/api/quality",
)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_shown_without_a_session(desk: Desk, path: str) -> None:
    answer = visitor(desk.rooms, desk.sessions).get(path)
    assert answer.status_code in (401, 403)
    assert "P0" not in answer.text


def test_a_token_works_once(desk: Desk) -> None:
    token = desk.sessions.token()
    browser = visitor(desk.rooms, desk.sessions)
    assert browser.get(f"/enter?token={token}").status_code == 200
    assert visitor(desk.rooms, desk.sessions).get(f"/enter?token={token}").status_code == 403
    assert visitor(desk.rooms, desk.sessions).get("/enter?token=").status_code == 403
    assert browser.get("/api/about").json()["reader"] == "anna"


def test_the_cookie_is_out_of_reach(desk: Desk) -> None:
    answer = visitor(desk.rooms, desk.sessions).get(f"/enter?token={desk.sessions.token()}", follow_redirects=False)
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said


@pytest.mark.parametrize("path", ["/", "/study", "/enter", "/static/study.js", "/api/about", "/nowhere"])
def test_every_answer_carries_the_policy(desk: Desk, path: str) -> None:
    answer = desk.client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers.get_list(name) == [value]
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:8788", "[::1]:8787", ""])
def test_another_host_is_refused(desk: Desk, host: str) -> None:
    answer = desk.client.get("/api/about", headers={"host": host})
    assert answer.status_code == 421
    assert "csrf" not in answer.text


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_of_other_pages_are_refused(desk: Desk, site: str) -> None:
    assert desk.client.get("/api/about", headers={"sec-fetch-site": site}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-medquorum-csrf": ""},
        {"x-medquorum-csrf": "0" * 64},
        {"x-medquorum-csrf": "right", "origin": "http://evil.example"},
        {"x-medquorum-csrf": "right", "origin": "null"},
        {"x-medquorum-csrf": "right", "origin": f"https://{HOST}"},
    ],
    ids=["none", "empty", "wrong", "other-origin", "null-origin", "other-scheme"],
)
def test_a_change_without_the_page_s_word_is_refused(desk: Desk, headers: dict[str, str]) -> None:
    sent = {name: desk.word if value == "right" else value for name, value in headers.items()}
    image = desk.images[8]
    before = len(desk.node.store.history(image))
    assert desk.client.post("/api/say", json=desk.action(image), headers=sent).status_code == 403
    assert len(desk.node.store.history(image)) == before


def test_another_session_s_word_does_not_do(desk: Desk) -> None:
    other = visitor(desk.rooms, desk.sessions)
    other.get(f"/enter?token={desk.sessions.token()}")
    answer = other.post("/api/say", json=desk.action(desk.images[8]), headers={"x-medquorum-csrf": desk.word})
    assert answer.status_code == 403


def test_leaving_ends_the_session_at_once(desk: Desk) -> None:
    browser = visitor(desk.rooms, desk.sessions)
    browser.get(f"/enter?token={desk.sessions.token()}")
    kept = browser.cookies[COOKIE]
    word = browser.get("/api/about").json()["csrf"]
    assert browser.post("/leave", headers={"x-medquorum-csrf": word}).status_code == 200
    assert not desk.sessions.valid(kept)
    browser.cookies.set(COOKIE, kept, domain="127.0.0.1")
    assert browser.get("/api/about").status_code == 401


def test_sessions_outlive_the_process_and_not_the_reader(tmp_path: Path) -> None:
    first = Sessions(tmp_path / "s", "anna")
    session = first.enter(first.token())
    assert session is not None
    assert Sessions(tmp_path / "s", "anna").valid(session)
    assert not Sessions(tmp_path / "s", "bert").valid(session)
    assert session not in (tmp_path / "s").read_text()
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0
    first.end(session)
    assert not Sessions(tmp_path / "s", "anna").valid(session)


def test_sessions_end_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(tmp_path / "s", "anna")
    session = sessions.enter(sessions.token()) or ""
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert not sessions.valid(session)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"reader": 1}', '{"reader": "anna", "open": {"x": "y"}}'])
def test_a_damaged_file_of_sessions_lets_nobody_in(tmp_path: Path, content: str) -> None:
    (tmp_path / "s").write_text(content)
    assert not Sessions(tmp_path / "s", "anna").valid("x")


def test_the_word_says_nothing_of_the_session() -> None:
    assert csrf("a") != csrf("b")
    assert len(csrf("a")) == 64


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "study.html", "__init__.py", "nothing.js", ".hidden.js"])
def test_only_the_pages_parts_are_served(desk: Desk, name: str) -> None:
    assert desk.client.get(f"/static/{name}").status_code in (403, 404)
