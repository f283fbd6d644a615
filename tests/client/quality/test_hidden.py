"""The hidden share: the model beside labels it had no part in, the cost of reading by hand, the commoner answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hospitals import make_node
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.client.annotations import Annotation, Proposal, State, new_id
from medquorum.client.quality.gathered import Frame, frames
from medquorum.client.quality.hidden import hidden_share
from medquorum.client.quality.report import quality_report
from medquorum.client.quality.words import hidden_lines
from medquorum.client.settling import LabelRule

AT = datetime(2026, 2, 1, tzinfo=UTC)
RELEASE = "r" * 64


def label(instance: str, state: State, reader: str = "ann", weighed: tuple[str, ...] = ()) -> Annotation:
    states = (("nodule", state),)
    return Annotation(new_id(), instance, 0, reader, AT, None, None, states, (), 2, 6.0, None, weighed=weighed)


def frame(number: int, probability: float | None, held_out: bool = True, release: str = RELEASE) -> Frame:
    """A patient's only frame, read by ann with four actions in ten seconds."""
    said = () if probability is None else (("nodule", probability),)
    proposal = Proposal(new_id(), f"i{number}", 0, release, bool(said), "" if said else "x", said, (), AT)
    return Frame(f"p{number}", f"i{number}", 0, 9, 9, held_out, {}, {"ann": (4, 10.0)} if held_out else {}, (proposal,))


def share(rows: list[tuple[float, bool]]) -> object:
    read = [frame(number, probability) for number, (probability, _) in enumerate(rows)]
    truth: dict[tuple[str, int], Annotation] = {
        (one.instance, 0): label(one.instance, "present" if present else "absent")
        for one, (_, present) in zip(read, rows, strict=True)
    }
    return hidden_share(read, truth, RELEASE)


def test_a_right_model_is_right_and_the_commoner_answer_stands_beside_it() -> None:
    read = [frame(number, 0.9 if number < 6 else 0.2) for number in range(20)]
    settled = {(one.instance, 0): label(one.instance, "present" if n < 5 else "absent") for n, one in enumerate(read)}
    found = hidden_share(read, settled, RELEASE)
    (nodule,) = found.findings
    assert (found.read, found.proposed, nodule.frames, nodule.positives) == (20, 20, 20, 5)
    assert found.model is not None and found.model.value == pytest.approx(19 / 20)
    assert found.commoner is not None and found.commoner.value == pytest.approx(15 / 20)
    assert nodule.auroc is not None and nodule.auroc.value == pytest.approx(1.0 - 0.5 * 1 / 15)
    assert [(round(one.stated, 2), one.frames) for one in nodule.bins] == [(0.2, 14), (0.9, 6)]
    assert nodule.bins[1].observed.value == pytest.approx(5 / 6)
    assert nodule.bins[1].observed.low < 5 / 6 < nodule.bins[1].observed.high
    assert found.actions is not None and found.actions.value == 4.0
    assert found.seconds is not None and found.seconds.value == 10.0


def test_only_held_out_frames_with_a_label_and_the_release_s_own_word_count() -> None:
    read = [
        frame(0, 0.9),
        frame(1, 0.1),
        frame(2, 0.9, held_out=False),
        frame(3, 0.9, release="s" * 64),
        frame(4, None),
    ]
    settled = {(one.instance, 0): label(one.instance, "present") for one in read}
    del settled["i1", 0]
    found = hidden_share(read, settled, RELEASE)
    assert (found.read, found.proposed) == (3, 1)
    assert hidden_share(read, settled).proposed == 2  # of whichever release
    uncertain = {("i0", 0): label("i0", "uncertain")}
    assert hidden_share(read, uncertain, RELEASE).findings == ()
    nothing = hidden_share([], {}, RELEASE)
    assert (nothing.read, nothing.actions, nothing.model, nothing.commoner) == (0, None, None, None)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=25))
def test_bins_hold_every_frame_once_and_intervals_hold_their_share(rows: list[tuple[float, bool]]) -> None:
    found = share(rows)
    (nodule,) = found.findings  # pyright: ignore[reportAttributeAccessIssue]
    assert sum(one.frames for one in nodule.bins) == len(rows)
    assert all(0.0 <= one.observed.low <= one.observed.value + 1e-9 for one in nodule.bins)
    assert all(one.observed.value - 1e-9 <= one.observed.high <= 1.0 for one in nodule.bins)


def test_held_out_labels_are_not_suspected_and_what_a_lead_weighed_is_no_reading_of_its_own(tmp_path: Path) -> None:
    """Twelve patients for training and six held out, all read; the model contradicts one label of either."""
    with make_node(tmp_path / "n", "a", patients=12, held_out=6, images=1) as node:
        node.store.labels().set_rule(LabelRule("two", ("eve",)))
        rows, before = node.store.instances(), datetime(2025, 12, 31, tzinfo=UTC)
        for number, row in enumerate(rows):
            present = (number % 2 == 0) != (number in (3, 14))
            chance = (("nodule", 0.95 if present else 0.05),)
            node.store.add_proposals([Proposal(new_id(), row.id, 0, RELEASE, True, "", chance, (), before)])
        first = node.store.history(rows[0].id)[0]
        second = label(rows[0].id, "absent", "bob")
        eve = label(rows[0].id, "absent", "eve", (first.id, second.id))
        own = label(rows[1].id, "present", "eve")
        weighing = Annotation(
            new_id(), rows[1].id, 0, "eve", AT + timedelta(hours=1), None, None, (("nodule", "absent"),), (), 1, 1.0,
            own.id, weighed=(own.id, node.store.history(rows[1].id)[0].id),
        )  # fmt: skip
        node.store.annotate_many([second, eve, own, weighing])
        report = quality_report(node.store, RELEASE)
        assert [one.instance for one in report.suspects if one.reader == "reader"] == [rows[3].id]
        read = {one.instance: one for one in frames(node.store)}
        assert set(read[rows[0].id].readings) == {"reader", "bob"}
        assert read[rows[1].id].readings["eve"] == own
        assert {one.reader for one in report.readers} == {"reader", "bob", "eve"}
        # Under "two" nothing of the hidden share counts yet: one reader has read it.
        assert report.hidden.read == 0 and "hidden_readings" in report.lacks
        node.store.labels().set_rule(LabelRule())
        again = quality_report(node.store, RELEASE)
        assert (again.hidden.read, again.hidden.proposed) == (6, 6)
        assert again.hidden.model is not None and again.hidden.model.value == pytest.approx(5 / 6)
        assert again.hidden.actions is not None and again.hidden.actions.value == 1.0
        assert np.isclose(again.hidden.commoner.value if again.hidden.commoner else 0.0, 0.5)
        assert "hidden_readings" not in again.lacks
        said = "\n".join(hidden_lines(again.hidden))
        assert "nodule: AUROC" in said and "commoner answer: 0.50" in said
        assert hidden_lines(report.hidden) == []
