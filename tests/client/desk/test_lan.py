"""The desk on the LAN as a hospital starts it: over real TLS, from another process, revoked by commands meanwhile."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result
from ward import PASSWORD

from medquorum.cli import main
from medquorum.client.audit_log import AuditLog
from medquorum.client.commands import node as cli
from medquorum.client.desk.exposure import Exposure, ExposureError, host_and_port, tls
from medquorum.client.desk.people import BROWSER, SESSION, STRANGER
from medquorum.client.keys import open_node_key
from medquorum.client.node import Node
from medquorum.errors import MedquorumError
from medquorum.privacy.certificates import issue, make_authority

START = "import sys; from medquorum.cli import main; sys.exit(main(sys.argv[1:]))"


def run(*arguments: str) -> Result:
    """A command, as IT types it."""
    return CliRunner().invoke(cli, list(arguments))


def code_in(output: str) -> str:
    found = re.search(r"[0-9A-Z]{5}(-[0-9A-Z]{5}){3}", output)
    assert found is not None, output
    return found[0]


@dataclass
class Lan:
    """A desk served by another process."""

    folder: Path
    port: int

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}"

    def browser(self) -> httpx.Client:
        """A browser that trusts the node's own authority, and no other."""
        context = ssl.create_default_context(cafile=str(self.folder / "desk" / "authority.pem"))
        return httpx.Client(base_url=self.base, verify=context)

    def post(self, browser: httpx.Client, path: str, sent: dict[str, str]) -> httpx.Response:
        """A change as the page sends it."""
        word = browser.get("/api/about")
        if word.status_code != 200:
            word = browser.get("/api/door")
        headers = {"x-medquorum-csrf": word.json()["csrf"], "origin": self.base}
        return browser.post(path, json=sent, headers=headers)

    def sign_in(self, name: str) -> httpx.Client:
        """A browser in which a reader has signed in."""
        browser = self.browser()
        answer = self.post(browser, "/api/sign-in", {"name": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return browser


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Generator[Lan]:
    folder = tmp_path_factory.mktemp("lan") / "node"
    Node.create(folder, "A", held_out_share=0.0).close()
    at = "--folder", str(folder)
    assert run("review-certificate", "localhost", *at).exit_code == 0
    code = code_in(run("reader", "add", "anna", "--role", "admin", *at).output)
    certificate = "--certificate", str(folder / "desk" / "server.pem"), "--key", str(folder / "desk" / "server.key")
    arguments = ("node", "review", *at, "--listen", "127.0.0.1:0", "--name", "localhost", *certificate)
    with subprocess.Popen([sys.executable, "-c", START, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = re.search(r"https://localhost:(\d+)/", process.stdout.readline())
        assert said is not None
        made = Lan(folder, int(said[1]))
        with made.browser() as browser:
            sent = {"name": "anna", "code": code, "password": PASSWORD}
            assert made.post(browser, "/api/enrol", sent).status_code == 200
        yield made
        process.terminate()


def test_cookies_over_real_tls_are_this_host_s_alone(lan: Lan) -> None:
    with closing(lan.sign_in("anna")) as browser:
        kept = {one.name: one for one in browser.cookies.jar}
        assert set(kept) == {SESSION.name, BROWSER.name}
        for one in kept.values():
            assert (one.secure, one.path, one.domain_specified) == (True, "/", False)
            assert one.has_nonstandard_attr("HttpOnly")
            assert one.get_nonstandard_attr("SameSite") == "strict"
        assert browser.get("/").headers["strict-transport-security"].startswith("max-age=31536000")
        door = browser.get("/api/door").headers["set-cookie"].lower()
        assert door.startswith(STRANGER.name.lower())
        assert all(part in door for part in ("secure", "httponly", "samesite=strict"))


def test_nothing_is_answered_without_tls_or_by_an_old_one(lan: Lan) -> None:
    plain = HTTPConnection("localhost", lan.port, timeout=10)
    with pytest.raises((OSError, HTTPException)):
        plain.request("GET", "/login")
        plain.getresponse()
    old = ssl.create_default_context(cafile=str(lan.folder / "desk" / "authority.pem"))
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((httpx.ConnectError, httpx.RemoteProtocolError)):
        httpx.get(f"{lan.base}/login", verify=old)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{lan.base}/login")


def test_another_name_for_this_machine_is_refused(lan: Lan) -> None:
    with lan.browser() as browser:
        assert browser.get("/login", headers={"host": "evil.example"}).status_code == 421
        assert browser.get("/login", headers={"host": "localhost"}).status_code == 421


ENDINGS: dict[str, tuple[str, ...]] = {
    "sign-out": ("sign-out", "bert"),
    "disable": ("disable", "bert"),
    "role": ("role", "bert", "lead"),
    "password": ("password", "bert"),
}


def test_commands_of_another_process_end_sessions_at_once(lan: Lan) -> None:
    at = "--folder", str(lan.folder)
    code = code_in(run("reader", "add", "bert", *at).output)
    with lan.browser() as browser:
        assert lan.post(browser, "/api/enrol", {"name": "bert", "code": code, "password": PASSWORD}).status_code == 200
        for name, arguments in ENDINGS.items():
            assert browser.get("/api/about").status_code == 200, name
            done = run("reader", *arguments, *at)
            assert done.exit_code == 0, done.output
            assert browser.get("/api/about").status_code == 401, name
            if name == "disable":
                refused = lan.post(browser, "/api/sign-in", {"name": "bert", "password": PASSWORD})
                assert refused.status_code == 403
                assert run("reader", "enable", "bert", *at).exit_code == 0
            if name != "password":
                again = lan.post(browser, "/api/sign-in", {"name": "bert", "password": PASSWORD})
                assert again.status_code == 200, name
    listed = run("reader", "list", *at)
    assert re.search(r"bert +lead +invited +0 sessions", listed.output)
    log = AuditLog(lan.folder / "store", open_node_key(lan.folder / "store"))
    steps = [entry.what["step"] for entry in log.entries() if entry.what.get("account") == "bert"]
    assert steps == ["add", "sign_out", "disable", "enable", "role", "code"]


# --- what is refused before anything is served ---


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node without accounts, and a certificate."""
    folder = tmp_path_factory.mktemp("refused") / "node"
    Node.create(folder, "A", held_out_share=0.0).close()
    make_authority(folder, "test")
    issue(folder, "server", ("reading.hospital",))
    return folder


def options(folder: Path, **changes: str) -> list[str]:
    given = {
        "folder": str(folder),
        "listen": "127.0.0.1:0",
        "name": "reading.hospital",
        "certificate": str(folder / "server.pem"),
        "key": str(folder / "server.key"),
        **changes,
    }
    return [part for name, value in given.items() if value for part in (f"--{name}", value)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "nobody has an account yet"),
        ({"certificate": ""}, "plain HTTP is for this machine alone"),
        ({"key": ""}, "plain HTTP is for this machine alone"),
        ({"name": ""}, "told apart"),
        ({"name": "other.hospital"}, "not for 'other.hospital'"),
        ({"name": "https://reading.hospital"}, "no host name"),
        ({"listen": "reading.hospital:8787"}, "no address to listen on"),
        ({"listen": "127.0.0.1"}, "no address to listen on"),
        ({"listen": ""}, "for the LAN"),
        ({"certificate": "/nowhere.pem"}, "cannot be read"),
    ],
)
def test_what_cannot_be_served_safely_is_refused_with_what_to_do(
    made: Path, changes: dict[str, str], says: str
) -> None:
    found = run("review", *options(made, **changes))
    assert isinstance(found.exception, MedquorumError)
    assert says in found.exception.what
    assert found.exception.fix


def test_the_first_account_is_named_by_its_command(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "review", *options(made)]) == 2
    assert "medquorum node reader add NAME --role admin" in capsys.readouterr().err


def test_a_key_that_others_can_read_or_that_is_another_s_is_refused(made: Path, tmp_path: Path) -> None:
    def exposed(change: Callable[[Path], object]) -> str:
        for name in ("server.pem", "server.key"):
            (tmp_path / name).write_bytes((made / name).read_bytes())
            (tmp_path / name).chmod(0o600)
        change(tmp_path)
        where = tmp_path / "server.pem", tmp_path / "server.key"
        with pytest.raises(ExposureError) as found:
            tls(Exposure("127.0.0.1:0", ("reading.hospital",), *where))
        return found.value.what

    assert "open to other users" in exposed(lambda folder: (folder / "server.key").chmod(0o644))
    other = issue(made, "other", ("reading.hospital",))
    assert "does not belong" in exposed(lambda folder: (folder / "server.key").write_bytes(other.key.read_bytes()))
    assert "no server's certificate" in exposed(lambda folder: (folder / "server.pem").write_text("x"))
    (tmp_path / "server.key").unlink()
    with pytest.raises(ExposureError, match="cannot be read"):
        tls(Exposure("127.0.0.1:0", ("reading.hospital",), made / "server.pem", tmp_path / "server.key"))


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("0.0.0.0:8787", ("0.0.0.0", 8787)), ("[::]:443", ("::", 443)), ("10.0.0.5:0", ("10.0.0.5", 0))],
)
def test_addresses(listen: str, expected: tuple[str, int]) -> None:
    assert host_and_port(listen) == expected


def test_a_host_header_has_the_port_that_browsers_show() -> None:
    made = Exposure("0.0.0.0:8787", ("reading.hospital", "reading.hospital:443"), None, None)
    assert made.hosts(8787) == ["reading.hospital:8787", "reading.hospital"]


@pytest.mark.parametrize("role", ["boss", ""])
def test_a_role_that_is_none_is_refused_by_the_command(made: Path, role: str) -> None:
    assert run("reader", "add", "anna", "--role", role, "--folder", str(made)).exit_code == 2


def test_an_account_fault_is_one_line(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "reader", "disable", "nobody", "--folder", str(made)]) == 2
    said = capsys.readouterr().err
    assert "there is no such account" in said
    assert "Traceback" not in said
