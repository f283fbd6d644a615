"""The unit is what systemd accepts, its command runs as it stands there, and the gate's sandbox works inside it."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback import open_door

from medquorum.client.keys import open_node_key
from medquorum.client.network.enrol import enrol
from medquorum.client.network.fleet import Endpoint
from medquorum.client.network.settings import NetworkSettings
from medquorum.client.node import Node
from medquorum.client.operations import service
from medquorum.client.operations.running import Status, status
from medquorum.client.operations.service import ServiceError, Unit, install

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    folder = tmp_path / "a node's 100% folder"
    Node.create(folder, "north").close()
    NetworkSettings(folder, open_node_key(folder / "store")).create_keys()
    return folder


UNIT = "medquorum-node.service"


def values(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)


def command(unit: Path) -> list[str]:
    """What systemd would run."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(values(unit.read_text())["ExecStart"])]


@analyze
def test_a_unit_of_ones_own_is_written_checked_and_replaced(node: Path, tmp_path: Path) -> None:
    target = install(Unit(node, ""), tmp_path / "units")
    assert target == tmp_path / "units" / UNIT
    assert command(target) == [sys.executable, "-m", "medquorum", "node", "run", "--folder", str(node)]
    assert "User" not in values(target.read_text()) and "ProtectSystem" not in values(target.read_text())
    assert "enable-linger" in service.following(Unit(node, ""))[0]
    before = target.read_text()
    with pytest.raises(ServiceError, match=r"systemd finds a fault.*not executable"):
        install(Unit(node, "", program=("/no/such/python",)), tmp_path / "units")
    assert target.read_text() == before and [path.name for path in target.parent.iterdir()] == [UNIT]
    install(Unit(node, "", credential=tmp_path / "key.cred"), tmp_path / "units")
    assert "LoadCredentialEncrypted=medquorum-node-key:" in target.read_text()
    other = install(Unit(node, "", "receive"), tmp_path / "units")
    assert other.name == "medquorum-receive.service" and command(other)[3:5] == ["node", "receive"]
    with pytest.raises(ServiceError, match="does not stay running"):
        install(Unit(node, "", "init"), tmp_path / "units")


@analyze
def test_a_system_unit_is_hardened(node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The user that runs the tests may be root; an ordinary one is made up who owns the folder.
    fields = list(pwd.getpwuid(os.getuid()))
    fields[0], fields[2] = "medquorum", 4711
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd(fields))
    with pytest.raises(ServiceError, match="belongs to user") as refused:
        install(Unit(node, "medquorum"), tmp_path / "units")
    assert "chown -R medquorum:" in refused.value.fix
    monkeypatch.setattr(service, "_require_owner", lambda unit: None)
    target = install(Unit(node, "medquorum", writes=(Path("/srv/in box"),)), tmp_path / "units")
    said = values(target.read_text())
    assert said["User"] == "medquorum"
    assert said["ReadWritePaths"] == f'"{str(node).replace("%", "%%")}" "/srv/in box"'
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(target)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-300:]
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=5", str(target)], capture_output=True, text=True
    )
    assert done.returncode != 0, "the threshold means something"


@pytest.mark.parametrize(("user", "says"), [("no-such-user", "there is no user"), ("root", "does not run as root")])
def test_a_system_unit_needs_an_ordinary_user(node: Path, tmp_path: Path, user: str, says: str) -> None:
    with pytest.raises(ServiceError, match=says):
        install(Unit(node, user), tmp_path / "units")
    assert not (tmp_path / "units").exists()


def test_no_node_no_systemd_no_room(node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceError, match="holds no node"):
        install(Unit(tmp_path, ""), tmp_path / "units")
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="cannot be written"):
        install(Unit(node, ""), tmp_path / "file" / "units")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ServiceError, match="no systemd"):
        install(Unit(node, ""), tmp_path / "units")


@pytest.mark.slow
@analyze
def test_its_command_runs_says_how_it_stands_and_ends_when_told(node: Path, tmp_path: Path) -> None:
    unit = install(Unit(node, ""), tmp_path / "units")
    settings = NetworkSettings(node, open_node_key(node / "store"))
    with open_door(tmp_path / "door") as door:
        enrol(settings, "north", Endpoint(door.address, door.authority))
        environment = dict(word.split("=", 1) for word in values(unit.read_text())["Environment"].split())
        environment |= {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command(unit), env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                found = _running(node, process)
                assert found.running == process.pid
                assert (found.site, found.consortium, found.figures.images) == ("north", "chest", 0)
            finally:
                process.send_signal(signal.SIGTERM)
                said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
        assert "Traceback" not in said and "stopped" in said
    assert status(node).running is None


def _running(node: Path, process: subprocess.Popen[str]) -> Status:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (node / "status.json").exists():
            return status(node)
        time.sleep(0.1)
    pytest.fail("the unit's command did not come up")


_INSIDE = """
import subprocess, sys
import pyseccomp
allowed, sets = set(), ["@system-service", "@default"]
while sets:
    said = subprocess.run(["systemd-analyze", "syscall-filter", sets.pop()], capture_output=True, text=True).stdout
    for word in (line.strip() for line in said.splitlines()[1:]):
        sets.append(word) if word.startswith("@") else allowed.add(word)
allowed = {name for name in allowed if name.replace("_", "").isalnum()} | {"seccomp"}
rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(1))
for name in allowed:
    try:
        rules.add_rule(pyseccomp.ALLOW, name)
    except (OSError, ValueError):
        pass
rules.load()
import os
refused = False
try:
    os.unshare(os.CLONE_NEWUTS) if hasattr(os, "unshare") else os.chroot("/")
except OSError:
    refused = True
assert refused, "the unit's filter is not in force"
from medquorum.client.gate import probe
import json
found = probe()
print(json.dumps({"level": found.level.name, "escapes": found.escapes}))
"""


@analyze
def test_the_gates_sandbox_reaches_its_full_level_inside_the_units_filter(tmp_path: Path) -> None:
    """Two filters on one process: the kernel takes the stricter word of each, and seccomp() itself stays allowed."""
    done = subprocess.run([sys.executable, "-c", _INSIDE], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"level": "full", "escapes": []}
