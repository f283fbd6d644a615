"""Proposals by themselves: for studies that are quiet, once, again for another release; and adopting one by command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hospitals import fill_node, make_node, make_release
from typer.testing import CliRunner

from medquorum.client.commands import node as commands
from medquorum.client.node import Node
from medquorum.client.policy import Policy
from medquorum.client.proposing import Proposing, Quiet
from medquorum.models import checkpoint

ONE, TWO = make_release(3), make_release(4)


class Row:
    def __init__(self, name: str) -> None:
        self.id = name


def names(rows: list) -> list[str]:
    return [row.id for row in rows]


def test_a_study_is_ready_when_nothing_of_it_has_arrived_for_a_while() -> None:
    quiet = Quiet(10.0)
    rows = [Row(name) for name in ("a1", "b1", "a2", "unknown")]
    quiet.arrived([("a1", "a"), ("b1", "b")], 100.0)
    assert names(quiet.ready(rows, 109.9)) == []
    quiet.arrived([("a2", "a")], 105.0)
    assert names(quiet.ready(rows, 110.0)) == ["b1"]  # another image of a's made the whole of a wait again
    assert names(quiet.ready(rows, 115.0)) == ["a1", "b1", "a2"]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30.0
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_images_are_proposed_for_as_they_come_and_again_by_another_release(tmp_path: Path) -> None:
    with make_node(tmp_path / "n", "a", patients=3, held_out=0, images=1) as node:
        store, first, second = node.store, ONE.hash.hex(), TWO.hash.hex()
        with Proposing(store, node.releases, quiet=0.2, pause=0.05):
            time.sleep(0.3)
            assert store.proposals(first) == {}  # no release, no proposals
            node.releases.adopt(ONE)
            until(lambda: len(store.proposals(first)) == 3)
            fill_node(node, "b", 2, 0, 1)
            until(lambda: len(store.proposals(first)) == 5)
            node.releases.adopt(TWO)
            until(lambda: len(store.proposals(second)) == 5)
        assert all(len(store.proposals_of(row.id)) == 2 for row in store.instances())


def test_an_image_that_cannot_be_read_is_said_once_and_holds_up_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medquorum.client.errors import StoreError
    from medquorum.client.store import Store

    with make_node(tmp_path / "n", "a", patients=3, held_out=0, images=1) as node:
        node.releases.adopt(ONE)
        bad = node.store.instances()[1].id
        content = Store.content

        def damaged(store: Store, instance: str) -> bytes:
            if instance == bad:
                raise StoreError("its file is damaged")
            return content(store, instance)

        monkeypatch.setattr(Store, "content", damaged)
        with Proposing(node.store, node.releases, quiet=0.0, pause=0.02):
            until(lambda: len(node.store.proposals(ONE.hash.hex())) == 2)
            time.sleep(0.3)
    assert caplog.text.count("its file is damaged") == 1


def test_a_release_is_adopted_and_proposes_by_command(tmp_path: Path) -> None:
    folder, run = tmp_path / "n", CliRunner().invoke
    with make_node(folder, "a", patients=2, held_out=0, images=1):
        pass
    refused = run(commands, ["propose", "--folder", str(folder)])
    assert "no release yet" in str(refused.exception)
    checkpoint.save(ONE, tmp_path / "one")
    name = ONE.hash.hex()
    refused = run(commands, ["adopt", str(tmp_path / "one"), "--folder", str(folder), "--hash", "0" * 64])
    assert name in str(refused.exception)
    adopted = run(commands, ["adopt", str(tmp_path / "one"), "--folder", str(folder), "--hash", name.upper()])
    assert f"Release {name} proposes from now on: Nodule, in DX" in adopted.stdout
    done = json.loads(run(commands, ["propose", "--folder", str(folder), "--json"]).stdout)
    assert (done["proposed"], done["failed"]) == (2, [])
    assert "0 images proposed" in run(commands, ["propose", "--folder", str(folder)]).stdout
    with Node.open(folder, None) as node:
        assert len(node.store.proposals(name)) == 2


def test_a_release_that_the_policy_does_not_allow_is_not_adopted(tmp_path: Path) -> None:
    folder = tmp_path / "n"
    Node.create(folder, "a").close()
    Policy(modalities=("MR",)).write(folder / "policy.toml")
    checkpoint.save(ONE, tmp_path / "one")
    refused = CliRunner().invoke(commands, ["adopt", str(tmp_path / "one"), "--folder", str(folder)])
    assert "modality 'DX' is not allowed here" in str(refused.exception)
    assert not (folder / "releases" / "current").exists()
