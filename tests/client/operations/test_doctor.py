"""Every check of doctor passes where things are well, and fails with one thing to do where they are not."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from loopback import Door, Proxy, inspector, open_door
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification
from ward import ward

from medquorum.client.audit_log import LOG
from medquorum.client.gate import Probe, SandboxLevel, probing
from medquorum.client.keys import open_node_key
from medquorum.client.network.enrol import enrol
from medquorum.client.network.errors import ConnectionLostError, UntrustedError
from medquorum.client.network.fleet import Endpoint
from medquorum.client.network.settings import NetworkSettings
from medquorum.client.node import Node
from medquorum.client.operations.doctor import Check, examine, lines, machine, pacs
from medquorum.client.operations.doctor.line import line
from medquorum.server.network.superlink import LOOPBACK, free_port


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor") / "node"
    Node.create(folder, "north").close()
    NetworkSettings(folder, open_node_key(folder / "store")).create_keys()
    return folder


@pytest.fixture
def node(laid_out: Path, tmp_path: Path) -> Path:
    """A stopped node of one's own."""
    return Path(shutil.copytree(laid_out, tmp_path / "node"))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Generator[Door]:
    with open_door(tmp_path_factory.mktemp("door") / "f") as opened:
        yield opened


def settings_of(node: Path) -> NetworkSettings:
    return NetworkSettings(node, open_node_key(node / "store"))


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def the_failure(checks: list[Check]) -> Check:
    """The only one that failed, which says what to do."""
    failures = [check for check in checks if check.state == "failed"]
    assert len(failures) == 1, failures
    assert failures[0].fix and "\n" not in failures[0].fix
    return failures[0]


# ---- the node's own folder


def test_a_node_that_is_well_passes_and_is_left_as_it_was(node: Path, door: Door) -> None:
    enrol(settings_of(node), "north", Endpoint(door.address, door.authority))
    before = {path: path.read_bytes() for path in node.rglob("*") if path.is_file() and path.suffix != ".lock"}
    checks = examine(node)
    assert all(check.state == "passed" for check in checks if check.name != "PACS"), lines(checks)
    assert set(by_name(checks)) == {
        *(
            "folder",
            "disk",
            "memory",
            "sandbox",
            "policy",
            "ledger",
            "key",
            "store",
            "readings",
            "identity",
            "audit log",
            "accounts",
        ),
        *("dns", "proxy", "tls", "clock", "PACS"),
    }
    assert all(path.read_bytes() == content for path, content in before.items() if path.name != "store.db-wal")


def test_a_folder_without_a_node(tmp_path: Path) -> None:
    assert "node init" in the_failure(examine(tmp_path)).fix


@pytest.mark.parametrize(
    ("break_it", "check", "fix"),
    [
        pytest.param(lambda n: (n / "store" / "node.key").chmod(0o644), "key", "chmod 600", id="open key"),
        pytest.param(lambda n: (n / "store" / "node.key").unlink(), "key", "restore the key file", id="lost key"),
        pytest.param(lambda n: (n / "store" / "node.key").write_bytes(b"x"), "key", "restore", id="damaged key"),
        pytest.param(lambda n: (n / "store" / "node.secret").unlink(), "key", "backup", id="lost secret"),
        pytest.param(lambda n: (n / "network" / "flower.key").chmod(0o640), "folder", "chmod 600", id="Flower key"),
        pytest.param(lambda n: (n / "store").chmod(0o755), "folder", "chmod 700", id="open store"),
        pytest.param(lambda n: (n / "policy.toml").write_text("modes = 3"), "policy", "write a list", id="policy"),
        pytest.param(lambda n: (n / "ledger.sqlite").write_bytes(b"x" * 5000), "ledger", "whole copy", id="ledger"),
        pytest.param(lambda n: (n / "ledger.sqlite").unlink(), "ledger", "bring it back", id="lost ledger"),
        pytest.param(lambda n: (n / "network" / "identity").unlink(), "identity", "create one", id="lost identity"),
        pytest.param(
            lambda n: (n / "store" / "store.db").write_bytes(b"x" * 8192), "store", "restore the store", id="store"
        ),
    ],
)
def test_what_is_wrong_in_the_folder_fails_once_with_one_fix(
    node: Path, monkeypatch: pytest.MonkeyPatch, break_it, check: str, fix: str
) -> None:
    monkeypatch.setattr(probing, "probe", lambda: Probe(SandboxLevel(True, True, True), ()))
    break_it(node)
    failure = the_failure(examine(node))
    assert failure.name == check
    assert fix in failure.fix


def test_a_cut_audit_log_fails(node: Path) -> None:
    os.truncate(node / "store" / LOG, 0)
    failures = [check for check in examine(node) if check.state == "failed"]
    assert {check.name for check in failures} == {"store", "audit log"}
    assert all("begin-again" in check.fix for check in failures)


def test_a_running_node_is_no_fault(node: Path) -> None:
    with Node.open(node):
        assert f"process {os.getpid()}" in by_name(examine(node))["store"].said


# ---- the machine


def test_disk_and_memory(tmp_path: Path) -> None:
    assert machine.disk(tmp_path, needed=1).state == "passed"
    assert "free space" in the_failure([machine.disk(tmp_path, needed=1 << 60)]).fix
    meminfo, limit = tmp_path / "meminfo", tmp_path / "limit"
    meminfo.write_text("MemTotal:       16000000 kB\nMemFree: 1 kB\n")
    limit.write_text("max\n")
    assert machine.memory(8 << 30, meminfo, limit).state == "passed"
    limit.write_text(f"{1 << 30}\n")
    assert "container or service" in the_failure([machine.memory(8 << 30, meminfo, limit)]).said
    assert "this machine" in the_failure([machine.memory(1 << 40, meminfo, tmp_path / "none")]).said
    assert machine.memory(1, tmp_path / "none", limit).state == "skipped"


@pytest.mark.parametrize(
    ("probe", "state", "says"),
    [
        (Probe(SandboxLevel(True, True, True), ()), "passed", "full"),
        (Probe(SandboxLevel(True, True, False), ()), "failed", "no the system call filter"),
        (Probe(SandboxLevel(False, False, False), ()), "failed", "cannot be shut in"),
        (Probe(SandboxLevel(True, True, True), ("it opened a socket",)), "failed", "it opened a socket"),
    ],
    ids=["full", "limits", "none", "escape"],
)
def test_the_level_that_the_sandbox_reaches_is_named(
    monkeypatch: pytest.MonkeyPatch, probe: Probe, state: str, says: str
) -> None:
    monkeypatch.setattr(probing, "probe", lambda: probe)
    found = machine.sandbox()
    assert (found.state, bool(found.fix)) == (state, state == "failed")
    assert says in found.said


# ---- the line


def states(checks: list[Check]) -> list[str]:
    assert [check.name for check in checks] == ["dns", "proxy", "tls", "clock"]
    return [check.state[0] for check in checks]


def test_a_straight_line_and_one_through_a_proxy(door: Door) -> None:
    assert states(line(Endpoint(door.address, door.authority))) == list("pppp")
    proxy = Proxy(login="user:p@ss")
    with proxy.listening() as url:
        known = url.replace("//", "//user:p%40ss@")
        assert states(line(Endpoint(door.address, door.authority, known))) == list("pppp")
        assert set(proxy.seen) == {f"CONNECT {door.address}"}
        wants = line(Endpoint(door.address, door.authority, url))
        assert states(wants) == list("pfss")
        assert "user and a password" in the_failure(wants).said


def test_a_name_without_an_address(door: Door) -> None:
    checks = line(Endpoint("no-such-host.invalid:443", door.authority))
    assert states(checks) == list("fsss")
    assert "no-such-host.invalid" in the_failure(checks).fix
    assert states(line(Endpoint("host:port", door.authority))) == list("fsss")


def test_a_closed_port_a_proxy_that_is_away_and_one_that_forbids(door: Door) -> None:
    closed = f"{LOOPBACK}:{free_port()}"
    checks = line(Endpoint(closed, door.authority))
    assert states(checks) == list("pfss") and "firewall" in the_failure(checks).fix
    away = line(Endpoint(door.address, door.authority, f"http://{closed}"))
    assert states(away) == list("pfss") and "correct --proxy" in the_failure(away).fix
    with Proxy(refused=403).listening() as url:
        checks = line(Endpoint(door.address, door.authority, url))
    assert states(checks) == list("pfss") and f"allow CONNECT to {door.address}" in the_failure(checks).fix


def test_a_proxy_that_opens_tls_is_named(door: Door, tmp_path: Path, node: Path) -> None:
    with Proxy(opener=inspector(tmp_path / "inspector")).listening() as url:
        endpoint = Endpoint(door.address, door.authority, url)
        checks = line(endpoint)
        assert states(checks) == list("ppfs")
        failure = the_failure(checks)
        assert "CN=Hospital inspection authority" in failure.said and "CN=chest authority" in failure.said
        assert f"exempt {door.address} from TLS inspection" in failure.fix
        # Nothing is sent through it either.
        with pytest.raises(UntrustedError, match="proxy opening TLS"):
            enrol(settings_of(node), "north", endpoint)


def test_enrolment_goes_through_the_proxy_and_remembers_it(door: Door, node: Path) -> None:
    with Proxy().listening() as url:
        enrol(settings_of(node), "north", Endpoint(door.address, door.authority, url))
        assert settings_of(node).endpoint() == Endpoint(door.address, settings_of(node).authority, url)
        assert by_name(examine(node))["proxy"].said == f"the proxy {url[7:]} opens the way to {door.address}"
    with pytest.raises(ConnectionLostError):
        enrol(settings_of(node), "north", Endpoint(door.address, door.authority, url))


def test_another_authority_another_name_and_another_protocol(door: Door, tmp_path: Path) -> None:
    with open_door(tmp_path / "other", ("elsewhere.example",)) as other:
        named = line(Endpoint(other.address, other.authority))
        assert states(named) == list("ppfs") and "enrol again" in the_failure(named).fix
        stranger = line(Endpoint(other.address, door.authority))
        assert "not by the consortium's authority" in the_failure(stranger).said
    (tmp_path / "none.pem").write_text("x")
    assert "authority" in the_failure(line(Endpoint(door.address, tmp_path / "none.pem"))).said
    with socket.create_server((LOOPBACK, 0)) as plain:
        threading.Thread(target=_rude, args=(plain,), daemon=True).start()
        checks = line(Endpoint(f"{LOOPBACK}:{plain.getsockname()[1]}", door.authority))
    assert states(checks) == list("ppfs") and "TLS 1.3" in the_failure(checks).said


def _rude(listener: socket.socket) -> None:
    for _ in range(3):
        try:
            client, _ = listener.accept()
        except OSError:
            return
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        client.close()


@pytest.mark.parametrize(("ahead", "state"), [(0.0, "passed"), (3600.0, "failed"), (-3600.0, "failed")])
def test_the_clock_is_compared_with_the_coordinators(door: Door, ahead: float, state: str) -> None:
    clock = line(Endpoint(door.address, door.authority), lambda: time.time() + ahead)[-1]
    assert clock.state == state
    if ahead:
        assert ("ahead of" if ahead > 0 else "behind") in clock.said and "set-ntp" in clock.fix


# ---- the PACS


@pytest.fixture(scope="module")
def archive() -> Generator[int]:
    entity = AE(ae_title="ARCHIVE")
    entity.add_supported_context(Verification)
    entity.require_called_aet = True
    entity.require_calling_aet = ["MEDQUORUM", "DUMB"]
    answers = [(evt.EVT_C_ECHO, lambda event: 0x0122 if event.assoc.requestor.ae_title == "DUMB" else 0)]
    server = entity.start_server((LOOPBACK, 0), block=False, evt_handlers=answers)
    assert server is not None
    yield server.socket.getsockname()[1]
    server.shutdown()


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({}, ""),
        ({"called": "OTHER"}, "allow MEDQUORUM to call OTHER"),
        ({"calling": "STRANGER"}, "allow STRANGER to call ARCHIVE"),
        ({"calling": "DUMB"}, "allow C-ECHO"),
        ({"port": 1}, "host, port and tls"),
    ],
    ids=["well", "called", "calling", "status", "port"],
)
def test_each_pacs_is_asked_to_echo(tmp_path: Path, archive: int, changes: dict[str, object], fix: str) -> None:
    said = {"host": LOOPBACK, "port": archive, "called": "ARCHIVE", "calling": "MEDQUORUM"} | changes
    body = "\n".join(f"{name} = {value!r}" for name, value in said.items())
    (tmp_path / "pacs.toml").write_text(f"[pacs.main]\n{body}\n")
    (check,) = pacs.echoes(tmp_path)
    assert check.name == "PACS main"
    assert (check.state, fix in check.fix) == ("failed" if fix else "passed", True)


def test_settings_of_a_pacs_that_make_no_sense(tmp_path: Path) -> None:
    assert pacs.echoes(tmp_path)[0].state == "skipped"
    (tmp_path / "pacs.toml").write_text("# none")
    assert pacs.echoes(tmp_path)[0].state == "skipped"
    (tmp_path / "pacs.toml").write_text("[pacs.a]\nhost = ''\n[pacs.b]\nweb = 'http://127.0.0.1:1/dicom'\n")
    assert [bool(check.fix) for check in pacs.echoes(tmp_path)] == [True, True]
    (tmp_path / "pacs.toml").write_text("[pacs")
    assert "correct that file" in the_failure(pacs.echoes(tmp_path)).fix


def test_each_failure_prints_its_one_fix(tmp_path: Path) -> None:
    check = Check("disk", "failed", "full", "free space")
    assert lines([check, replace(check, state="passed", fix="")])[1].strip() == "Fix: free space"
    assert sum("Fix:" in said for said in lines([check])) == 1


def test_who_could_come_in_is_said(node: Path) -> None:
    def accounts() -> Check:
        (found,) = [check for check in examine(node) if check.name == "accounts"]
        return found

    assert accounts().said.startswith("none")
    with ward(node) as here:
        here.reader("anna", "admin")
        here.accounts.add("bert", "reader", "it")
    assert accounts().said == "1 of 2 can sign in to the review page, 1 of them admins"
    (node / "accounts.sqlite").chmod(0o644)
    (folder,) = [check for check in examine(node) if check.name == "folder"]
    assert folder.state == "failed"
    assert "accounts.sqlite" in folder.said
    (node / "accounts.sqlite").write_bytes(b"no database, and no accounts either: damaged")
    assert accounts().state == "failed"
