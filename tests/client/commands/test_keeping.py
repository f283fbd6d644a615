"""Keys, backups, consents, erasures, policy, status and the audit log, by the commands that people type."""

from __future__ import annotations

import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hospitals import fill_node
from node_commands import run

from medquorum.cli import main
from medquorum.client.audit_log import LOG
from medquorum.client.keys import open_node_key
from medquorum.client.network.settings import NetworkSettings
from medquorum.client.node import Node
from medquorum.client.store import NewInstance
from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.identity import fingerprint
from medquorum.privacy.ledger import Ledger

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped node of three patients with one image each, and one charge; patient ids are north-0 to north-2."""
    folder = tmp_path_factory.mktemp("keeping") / "node"
    with Node.create(folder, "north", held_out_share=0.0) as node:
        fill_node(node, "north", 3, 0, 1)
        node.ledger.charge(b"p" * 32, "update", 1, 1, [GaussianSteps(40.0, 1.0, 1)], 0.5)
    NetworkSettings(folder, open_node_key(folder / "store")).create_keys()
    return folder


@pytest.fixture
def node(laid_out: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(laid_out, tmp_path / "node"))


# ---- consent


def test_consent_and_opt_out_count_from_their_day_on(node: Path, capsys: Capture) -> None:
    assert "opts out from 2026-03-01" in run(
        capsys, "consent", "north-0", "--withdrawn", "2026-03-01", "--folder", node
    )
    run(capsys, "consent", "north-0", "--given", "2026-05-01", "--issuer", "tests", "--folder", node)
    with Node.open(node) as opened:
        own = opened.store.find_patient("tests", "north-0")
        frozen = [
            {record.patient for record in opened.store.freeze(bytes([n]) * 32, datetime(2026, month, 1, tzinfo=UTC))}
            for n, month in enumerate((2, 3, 4, 5))
        ]
    assert [own in chosen for chosen in frozen] == [True, False, False, True]
    assert all(len(chosen) >= 2 for chosen in frozen)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("north-0",), "--given DATE or --withdrawn DATE"),
        (("north-0", "--given", "2026-01-01", "--withdrawn", "2026-01-02"), "--given DATE or --withdrawn DATE"),
        (("north-0", "--given", "01.05.2026"), "2026-05-01"),
    ],
)
def test_a_consent_that_says_nothing_clear_is_refused(
    node: Path, capsys: Capture, arguments: tuple[str, ...], says: str
) -> None:
    assert says in run(capsys, "consent", *arguments, "--folder", node, status=2)


def test_a_patient_nobody_knows_and_one_identifier_of_two(node: Path, capsys: Capture) -> None:
    assert "no such patient" in run(capsys, "consent", "x", "--given", "2026-01-01", "--folder", node, status=1)
    with Node.open(node) as opened:
        row = opened.store.instances()[0]
        content = opened.store.content(row.id)
        new = NewInstance(
            "other", "north-0", "9.1", "9.2", "9.3", "DX", "", "", "", 32, 32, 1, "", "x.png", "png", content
        )
        opened.store.add(new)
    line = run(capsys, "erase", "north-0", "--yes", "--folder", node, status=1)
    assert "'other', 'tests'" in line and "--issuer" in line
    run(capsys, "erase", "north-0", "--issuer", "other", "--yes", "--folder", node)


# ---- erasure


def test_an_erasure_is_certified_and_the_ledger_stays(node: Path, tmp_path: Path, capsys: Capture) -> None:
    before = Ledger.open(node / "ledger.sqlite").head()
    assert "is erased: 1 images" in run(capsys, "erase", "north-1", "--yes", "--folder", node)
    assert Ledger.open(node / "ledger.sqlite").head() == before, "what was charged stays charged"
    (certificate,) = (node / "erasures").iterdir()
    assert "north-1" not in certificate.read_text()
    kept = tmp_path / "kept.json"
    shutil.copy(certificate, kept)
    words = " ".join(fingerprint(NetworkSettings(node, open_node_key(node / "store")).identity().public))
    assert words in run(capsys, "verify-erasure", kept)
    said = json.loads(run(capsys, "verify-erasure", kept, "--folder", node, "--json"))
    assert (said["site"], said["images"], said["ledger_links"], said["checked_store"]) == ("north", 1, 1, True)
    assert "no such patient" in run(capsys, "erase", "north-1", "--yes", "--folder", node, status=1)
    certificate.unlink()  # as if the power had gone before it was written
    run(capsys, "erase", said["patient"], "--folder", node)
    assert certificate.read_text() == kept.read_text()
    kept.write_text(kept.read_text().replace('"images": 1', '"images": 0'))
    assert "changed after it was signed" in run(capsys, "verify-erasure", kept, status=1)
    kept.write_text("{}")
    assert "not an erasure certificate" in run(capsys, "verify-erasure", kept, status=1)


def test_an_erasure_is_asked_about_first(node: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    main(["node", "erase", "north-1", "--folder", str(node)])
    with Node.open(node) as opened:
        assert len(opened.store.patients()) == 3


# ---- key, backup, restore


def test_a_backup_is_restored_with_the_key_it_was_made_under_and_erasures_are_repeated(
    node: Path, tmp_path: Path, capsys: Capture
) -> None:
    key, file = tmp_path / "kept.key", tmp_path / "node.backup"
    shutil.copy(node / "store" / "node.key", key)
    assert "encrypted and read back" in run(capsys, "backup", file, "--folder", node)
    run(capsys, "erase", "north-1", "--yes", "--folder", node)
    assert "new key is in" in run(capsys, "rekey", "--folder", node)
    assert "3 images" not in run(capsys, "status", "--folder", node)
    again = tmp_path / "again"
    line = run(capsys, "restore", file, "--folder", again, "--key", node / "store" / "node.key", status=1)
    assert "no backup that this key opens" in line and not again.exists()
    said = run(capsys, "restore", file, "--folder", again, "--key", key, "--erased", node / "erasures")
    assert "as of" in said and "a peer must show what it lacks" in said
    (certificate,) = (node / "erasures").iterdir()
    run(capsys, "verify-erasure", certificate, "--folder", node)
    stale = tmp_path / "stale"
    run(capsys, "restore", file, "--folder", stale, "--key", key)
    assert "in the store again" in run(capsys, "verify-erasure", certificate, "--folder", stale, status=1)
    assert json.loads(run(capsys, "status", "--folder", again, "--json"))["figures"]["patients"] == 2
    assert "over what is there" in run(capsys, "restore", file, "--folder", again, "--key", key, status=1)


def test_commands_that_need_the_store_say_who_has_it(node: Path, tmp_path: Path, capsys: Capture) -> None:
    with Node.open(node):
        for arguments in (("backup", tmp_path / "b"), ("erase", "north-0", "--yes")):
            assert "already open in process" in run(capsys, *arguments, "--folder", node, status=1)
        assert "The node is running" in run(capsys, "audit", "verify", "--folder", node)


def test_a_lost_key_is_one_line(node: Path, capsys: Capture) -> None:
    (node / "store" / "node.key").unlink()
    for arguments in (("status",), ("rekey",), ("audit", "verify"), ("consent", "x", "--given", "2026-01-01")):
        assert "key file is missing" in run(capsys, *arguments, "--folder", node, status=1)


# ---- status, policy


def test_status_says_how_far_the_work_is(node: Path, capsys: Capture) -> None:
    said = json.loads(run(capsys, "status", "--folder", node, "--json"))
    assert said["figures"] == {"patients": 3, "images": 3, "proposed": 0, "reviewed": 3, "quarantined": 0}
    assert (said["running"], said["consortium"], said["last_contact"]) == (None, "", "")
    assert said["left"] == pytest.approx(15.5)
    assert "not running, not enrolled" in run(capsys, "status", "--folder", node)


def test_the_policy_in_force_is_shown_and_an_edited_one_checked(node: Path, tmp_path: Path, capsys: Capture) -> None:
    shown = run(capsys, "policy", "--folder", node)
    edited = tmp_path / "policy.toml"
    edited.write_text(shown.replace("plan_epsilon = 8.0", "plan_epsilon = 4.0"))
    assert json.loads(run(capsys, "policy", "check", edited, "--json"))["plan_epsilon"] == 4.0
    assert json.loads(run(capsys, "policy", "--folder", node, "--json"))["year_epsilon"] == "inf"
    edited.write_text(shown.replace("minimum_quorum = 3", "minimum_quorum = 0"))
    line = run(capsys, "policy", "check", edited, status=2)
    assert str(edited) in line and "minimum_quorum" in line and "Fix:" in line
    assert "--folder" in run(capsys, "policy", status=2)


# ---- the audit log


def test_the_audit_log_passes_until_it_is_touched(node: Path, capsys: Capture) -> None:
    run(capsys, "consent", "north-0", "--given", "2026-05-01", "--folder", node)
    said = json.loads(run(capsys, "audit", "verify", "--folder", node, "--json"))
    assert said["checked_database"]
    listed = json.loads(run(capsys, "audit", "list", "--folder", node, "--json"))["entries"]
    assert len(listed) == said["entries"]
    assert {entry["kind"] for entry in listed} == {"import", "review", "access", "consent"}
    assert run(capsys, "audit", "list", "--kind", "consent", "--last", "1", "--folder", node).count("\n") == 1
    assert "north-0" not in json.dumps(listed)

    log = node / "store" / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:1] + lines[2:]))
    line = run(capsys, "audit", "verify", "--folder", node, status=1)
    assert "changed at entry 2" in line and "begin-again" in line
    log.write_bytes(b"".join(lines[:-1]))
    assert "1 entries are missing from the end" in run(capsys, "audit", "verify", "--folder", node, status=1)
    assert "audit log" in run(capsys, "consent", "north-0", "--given", "2026-05-02", "--folder", node, status=1)
    assert "kept as" in run(capsys, "audit", "begin-again", "--folder", node)
    assert "1 entries" in run(capsys, "audit", "verify", "--folder", node)
    run(capsys, "consent", "north-0", "--given", "2026-05-02", "--folder", node)
