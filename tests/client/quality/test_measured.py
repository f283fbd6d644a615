"""The figures of a store's labels: from readings and proposals as they are stored, to what `node quality` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hospitals import make_node
from typer.testing import CliRunner

from medquorum.client.annotations import Annotation, Box, Proposal, Region, State, new_id
from medquorum.client.commands import node as commands
from medquorum.client.node import Node
from medquorum.client.quality.gathered import frames, looks
from medquorum.client.quality.measured import finding_quality, reader_quality, suspect_labels
from medquorum.client.store import InstanceRow

READ_AT = datetime(2026, 1, 1, tzinfo=UTC)  # when tests/hospitals.py's reader reads
TURNED, DISAGREED = (3, 8), (1, 4, 6)


def proposal(row: InstanceRow, probability: float, at: datetime, release: str = "r" * 64) -> Proposal:
    return Proposal(new_id(), row.id, 0, release, True, "", (("nodule", probability),), (), at)


def reading(row: InstanceRow, state: State, box: Box | None = None, shown: Proposal | None = None) -> Annotation:
    regions = () if box is None else (Region("nodule", box, "drawn"),)
    release, proposed = (None, None) if shown is None else (shown.release, shown.id)
    at = READ_AT + timedelta(days=1)
    return Annotation(new_id(), row.id, 0, "second", at, release, proposed, (("nodule", state),), regions, 3, 8.0, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve patients with an image each. The model, before anybody read, was right about all of them; the first
    reader turned two labels over; a second reader read all, disagreed on three, and saw the proposal on half."""
    folder = tmp_path_factory.mktemp("quality") / "node"
    node = make_node(folder, "a", patients=12, held_out=0, images=1)
    for number, row in enumerate(node.store.instances()):
        truth = number % 2 == 0
        before = proposal(row, 0.9 if truth else 0.1, READ_AT - timedelta(days=1))
        after = proposal(row, 0.5, READ_AT + timedelta(hours=1), "s" * 64)
        node.store.add_proposals([before, after])
        first = node.store.history(row.id)[0]
        if number in TURNED:
            wrong = (("nodule", "absent" if truth else "present"),)
            again = Annotation(new_id(), row.id, 0, "reader", READ_AT, None, None, wrong, (), 1, 2.0, first.id)
            node.store.annotate(again)
        says = truth != (number in TURNED) != (number in DISAGREED)
        box = Box(4, 4, 8, 8 + number % 3) if says else None
        node.store.annotate(reading(row, "present" if says else "absent", box, after if number < 6 else None))
    node.close()
    return folder


@pytest.fixture
def node(folder: Path) -> Iterator[Node]:
    opened = Node.open(folder, None)
    yield opened
    opened.close()


def test_readings_of_two_readers_stand_side_by_side_and_corrections_replace(node: Node) -> None:
    read = {one.instance: one for one in frames(node.store)}
    assert len(read) == 12 and all(sorted(one.readings) == ["reader", "second"] for one in read.values())
    turned = [read[node.store.instances()[number].id].readings["reader"] for number in TURNED]
    assert [dict(one.states)["nodule"] for one in turned] == ["present", "absent"]


def test_agreement_counts_the_disagreements_that_were_made(node: Node) -> None:
    found = finding_quality(frames(node.store), "nodule")
    assert (found.frames, found.twice) == (12, 12)
    (pair,) = found.pairs
    # Nine of twelve agree; each says present six times or so.
    assert pair.kappa is not None and pair.kappa.value == pytest.approx(0.5, abs=0.05)
    assert found.alpha is not None and found.alpha.low < found.alpha.value < found.alpha.high
    blind = {one.one: one for one in found.blind}
    shown = {one.one: one for one in found.shown}
    assert (blind["reader"].frames, shown["reader"].frames) == (12, 0)
    assert (blind["second"].frames, shown["second"].frames) == (6, 6)


def test_suspects_are_the_labels_turned_over_by_the_word_from_before_they_were_read(node: Node) -> None:
    found = suspect_labels(frames(node.store), "nodule")
    instances = [row.id for row in node.store.instances()]
    mine = {instances.index(one.instance) for one in found if one.reader == "reader"}
    assert mine == set(TURNED)  # a release that came later says 0.5 of everything, and does not count


def test_each_readers_work_is_counted(node: Node) -> None:
    first, second = reader_quality(frames(node.store))
    assert (first.reader, first.frames, first.hidden, first.seconds, first.actions) == ("reader", 12, 12, 2.0, 1.0)
    assert (second.hidden, second.actions) == (6, 3.0)


def test_regions_of_two_readers_are_compared_where_both_say_present(tmp_path: Path) -> None:
    with make_node(tmp_path / "n", "b", patients=4, held_out=0, images=1) as node:
        rows = node.store.instances()
        for row in rows:
            node.store.annotate(reading(row, "present", Box(0, 0, 8, 8)))
            third = Annotation(
                new_id(), row.id, 0, "third", READ_AT, None, None, (("nodule", "present"),),
                (Region("nodule", Box(0, 0, 8, 4), "drawn"),), 1, 1.0, None,
            )  # fmt: skip
            node.store.annotate(third)
        pairs = {(one.one, one.two): one for one in finding_quality(frames(node.store), "nodule").pairs}
        overlap = pairs["second", "third"].dice
        assert overlap is not None and overlap.value == pytest.approx(2 * 32 / (64 + 32))
        assert pairs["second", "third"].kappa is None  # both said present every time


def test_looks_are_of_images_read_beside_those_that_wait(tmp_path: Path) -> None:
    with make_node(tmp_path / "n", "b", patients=3, held_out=1, images=1) as node:
        read, waiting = looks(node.store)
        assert set(read) == {"intensity", "noise", "resolution"}
        assert all(len(values) == 0 for values in waiting.values())  # all were read, and the held-out one is in neither
        assert len(read["noise"]) in (0, 3)


def test_the_command_says_it_in_words_and_in_json(folder: Path) -> None:
    said = CliRunner().invoke(commands, ["quality", "--folder", str(folder)])
    assert said.exit_code == 0, said.output
    assert "Krippendorff's alpha" in said.stdout and "labels are suspected" in said.stdout
    plain = json.loads(CliRunner().invoke(commands, ["quality", "--folder", str(folder), "--json"]).stdout)
    assert plain["frames"] == 12 and len(plain["readers"]) == 2
    assert {one["reader"] for one in plain["suspects"]["nodule"]} >= {"reader"}


def test_a_node_that_read_nothing_says_so(tmp_path: Path) -> None:
    make_node(tmp_path / "n", "b", patients=0, held_out=0).close()
    said = CliRunner().invoke(commands, ["quality", "--folder", str(tmp_path / "n")])
    assert "Nobody has read anything yet" in said.stdout
