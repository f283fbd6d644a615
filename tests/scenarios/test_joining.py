"""A consortium from nothing, by the commands that people type, each in a process of its own; and their mistakes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from hospitals import fill_node

from medquorum.client.network.fleet import tls_context
from medquorum.client.node import Node
from medquorum.models import checkpoint
from medquorum.privacy.certificates import make_authority
from medquorum.server.network.superlink import LOOPBACK, free_port

SITES = ("east", "north", "south")
SIX_WORDS = re.compile(r"^ {4}([a-z]+(?: [a-z]+){5})$", re.MULTILINE)
PLAN = """
[task]
modality = "DX"
[[task.findings]]
key = "nodule"
scheme = "SCT"
code = "27925004"
meaning = "Nodule"

[release]
seed = 3

[model]
backbone = "small"
width = 8
size = 32
pooling = "mean"

[plan]
name = "first nodules"
rounds = 1
learning_rate = 0.1
quorum = 3
[plan.privacy]
epsilon = 8.0
delta = 1e-5

[[sites]]
name = "east"
patients = 10
[[sites]]
name = "north"
patients = 10
[[sites]]
name = "south"
patients = 10
"""

pytestmark = pytest.mark.timeout(1500)


def start(*arguments: object, log: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "medquorum", *map(str, arguments)]
    if log is None:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, text=True)


def done(process: subprocess.Popen[str]) -> str:
    """What a command that succeeds printed."""
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, out + err
    return out


def refused(status: int, *arguments: object) -> str:
    """The one line that a command ends with that cannot do what it is asked."""
    process = start(*arguments)
    out, err = process.communicate(timeout=900)
    assert process.returncode == status, out + err
    line = err.strip().splitlines()[-1]
    assert line.startswith("error: ") and "Fix:" in line and "Traceback" not in err
    return line


def words_in(said: str) -> list[str]:
    return SIX_WORDS.findall(said)


@pytest.fixture
def running() -> Generator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(60)


def wait_for_door(port: int, authority: Path, service: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert service.poll() is None
        try:
            httpx.get(f"https://{LOOPBACK}:{port}/v1/medquorum/consortium", verify=tls_context(authority))
            return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail("the front door did not open")


def test_hospitals_join_by_the_commands_and_train(tmp_path: Path, running: list[subprocess.Popen[str]]) -> None:
    coordinator, port = tmp_path / "coordinator", free_port()
    folders = {site: tmp_path / site for site in SITES}
    laid_out = {site: start("node", "init", site, "--folder", folders[site]) for site in SITES}
    founded = done(start("coordinator", "init", "chest", "--folder", coordinator))
    authority = coordinator / "authority.pem"
    assert str(authority) in founded
    serve = ("--name", LOOPBACK, "--host", LOOPBACK, "--port", port)
    running.append(start("coordinator", "serve", "--folder", coordinator, *serve, log=tmp_path / "serve.log"))
    words = {site: words_in(done(process))[0] for site, process in laid_out.items()}
    for site, folder in folders.items():
        with Node.open(folder) as node:
            fill_node(node, site, 6, 1, 1)
    wait_for_door(port, authority, running[0])

    # Another's authority: nothing is sent, and the line says what to compare.
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    address = f"{LOOPBACK}:{port}"
    wrong = ("node", "enrol", address, "--folder", folders["east"], "--authority", make_authority(stranger, "chest"))
    assert "fingerprint" in refused(3, *wrong)
    assert "first" in refused(2, "node", "run", "--folder", folders["east"])

    asked = {
        site: start("node", "enrol", address, "--authority", authority, "--folder", folder)
        for site, folder in folders.items()
    }
    for site, process in asked.items():
        assert words[site] in words_in(done(process))

    # The words of another site, and made-up ones, approve nobody and are trusted by nobody.
    approve = ("coordinator", "approve", "east", "--folder", coordinator, "--words")
    assert "read them out again" in refused(2, *approve, words["north"])
    trust = ("node", "trust", "north", "--folder", folders["east"], "--words")
    assert "north" in refused(3, *trust, words["south"])
    assert "north" not in done(start("node", "roster", "--folder", folders["east"]))
    plan = tmp_path / "nodules.toml"
    plan.write_text(PLAN)
    train = ("coordinator", "train", plan, "--folder", coordinator)
    assert "not approved" in refused(2, *train)

    for process in [
        start("coordinator", "approve", site, "--folder", coordinator, "--words", words[site]) for site in SITES
    ]:
        done(process)
    for shift in (1, 2):
        others = {site: SITES[(number + shift) % 3] for number, site in enumerate(SITES)}
        for process in [
            start("node", "trust", other, "--folder", folders[site], "--words", words[other])
            for site, other in others.items()
        ]:
            done(process)
    listed = done(start("coordinator", "sites", "--folder", coordinator))
    assert all(f"{words[site]}" in listed for site in SITES) and listed.count("approved") == 3

    for site, folder in folders.items():
        running.append(start("node", "run", "--folder", folder, log=tmp_path / f"{site}.log"))
    result = json.loads(done(start(*train, "--json")))
    assert result["state"] == "finished"
    assert [log["survivors"] for log in result["finished"]] == [list(SITES)]
    release = checkpoint.load(Path(result["release"]))
    assert release.card.training[-1].aggregation == "secure"

    # What was agreed and charged is noted, and a running node says how it stands.
    east = ("--folder", folders["east"], "--json")
    noted, stands = start("node", "audit", "list", *east), start("node", "status", *east)
    kinds = [entry["kind"] for entry in json.loads(done(noted))["entries"]]
    assert kinds.count("agreement") == 1 and kinds.count("charge") == 1
    standing = json.loads(done(stands))
    assert standing["running"] is not None and standing["last_contact"] and standing["figures"]["reviewed"] == 7

    # Again: the same release. Another plan under the same name: refused, with what to do. And what stands where.
    again, standing_runs = start(*train), start("coordinator", "status", "--folder", coordinator, "--json")
    assert result["release"] in done(again)
    status = json.loads(done(standing_runs))
    assert status["serving"] is True and [one["state"] for one in status["runs"]] == ["finished"]
    plan.write_text(PLAN.replace("rounds = 1", "rounds = 2"))
    assert "--run" in refused(2, *train)
    plan.write_text(PLAN.replace("quorum = 3", "quorom = 3"))
    line = refused(2, *train)
    assert str(plan) in line and "plan.quorum" in line
