"""A reader's decision on a proposal becomes an annotation that tells what was shown and what it took."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.client.annotations import Annotation, Box, Proposal, Region
from medquorum.client.errors import AnnotationError
from medquorum.client.review import Accept, Correct, Reading, Reject, Target, decide, restate, suggested, undo

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TARGET = Target("i1", 0, ("pneumonia", "effusion"))
READING = Reading("dr b", NOW, actions=3, seconds=4.5)
LUNG = Region("pneumonia", Box(1, 1, 5, 5), "proposed")
PLEURA = Region("effusion", Box(6, 6, 9, 9), "proposed")
SHOWN = Proposal("p1", "i1", 0, "ab", True, "", (("pneumonia", 0.9), ("effusion", 0.2)), (LUNG, PLEURA), NOW)
ELSEWHERE = Proposal("p2", "i1", 0, "ab", False, "a CT", (), (), NOW)


def test_accepting_states_the_proposal_and_keeps_the_regions_of_what_is_present() -> None:
    made = decide(TARGET, SHOWN, Accept(), READING)
    assert dict(made.states) == {"pneumonia": "present", "effusion": "absent"}
    assert made.regions == (LUNG,)
    assert (made.release, made.proposal, made.supersedes) == ("ab", "p1", None)
    assert (made.reader, made.at, made.actions, made.seconds) == ("dr b", NOW, 3, 4.5)


def test_a_threshold_decides_what_was_shown_as_present() -> None:
    assert suggested(SHOWN, {"pneumonia": 0.9}) == {"pneumonia": "present", "effusion": "absent"}
    made = decide(TARGET, SHOWN, Accept(), READING, thresholds={"pneumonia": 0.95, "effusion": 0.1})
    assert dict(made.states) == {"pneumonia": "absent", "effusion": "present"}
    assert made.regions == (PLEURA,)


def test_correcting_changes_what_is_named_and_keeps_the_rest() -> None:
    made = decide(TARGET, SHOWN, Correct({"effusion": "uncertain"}), READING)
    assert dict(made.states) == {"pneumonia": "present", "effusion": "uncertain"}
    assert made.regions == (LUNG,)
    absent = decide(TARGET, SHOWN, Correct({"pneumonia": "absent"}), READING)
    assert absent.regions == ()


def test_regions_can_be_redrawn_or_deleted() -> None:
    drawn = Region("pneumonia", Box(2, 2, 4, 4), "drawn")
    assert decide(TARGET, SHOWN, Correct(regions={"pneumonia": (drawn,)}), READING).regions == (drawn,)
    assert decide(TARGET, SHOWN, Correct(regions={"pneumonia": ()}), READING).regions == ()


def test_a_reading_with_the_proposal_hidden_states_only_what_the_reader_states() -> None:
    made = decide(TARGET, None, Correct({"pneumonia": "absent"}), READING)
    assert dict(made.states) == {"pneumonia": "absent", "effusion": "not_assessed"}
    assert (made.release, made.proposal) == (None, None)


def test_rejecting_states_nothing_but_tells_what_was_shown() -> None:
    made = decide(TARGET, SHOWN, Reject(), READING)
    assert not made.assessed
    assert made.regions == ()
    assert made.proposal == "p1"


@pytest.mark.parametrize(
    ("shown", "decision", "says"),
    [
        (None, Accept(), "not shown"),
        (None, Reject(), "not shown"),
        (ELSEWHERE, Accept(), "a CT"),
        (SHOWN, Correct({"nodule": "present"}), "'nodule'"),
        (SHOWN, Correct(regions={"effusion": (PLEURA,)}), "called absent"),
        (SHOWN, Correct(regions={"pneumonia": (PLEURA,)}), "another finding"),
        (Proposal("p3", "i1", 1, "ab", True, "", (), (), NOW), Accept(), "another frame"),
        (Proposal("p4", "i1", 0, "ab", True, "", (("nodule", 0.5),), (), NOW), Accept(), "'nodule'"),
    ],
)
def test_a_decision_that_cannot_be_meant_is_refused(shown: Any, decision: Any, says: str) -> None:
    with pytest.raises(AnnotationError, match=says):
        decide(TARGET, shown, decision, READING)


def test_an_image_outside_the_release_can_still_be_read_by_hand() -> None:
    made = decide(TARGET, ELSEWHERE, Correct({"pneumonia": "absent"}), READING)
    assert dict(made.states) == {"pneumonia": "absent", "effusion": "not_assessed"}
    assert made.proposal == "p2"


def said(made: Annotation) -> tuple[Any, ...]:
    return made.states, made.regions, made.release, made.proposal


def test_undo_restates_what_was_superseded_and_undone_again_redoes() -> None:
    first = decide(TARGET, SHOWN, Accept(), READING)
    second = decide(TARGET, SHOWN, Correct({"pneumonia": "absent"}), READING, supersedes=first)
    back = undo([first, second], READING)
    assert said(back) == said(first)
    assert back.supersedes == second.id
    again = undo([first, second, back], READING)
    assert said(again) == said(second)
    assert again.supersedes == back.id


def test_undoing_the_first_annotation_withdraws_it() -> None:
    first = decide(TARGET, SHOWN, Accept(), READING)
    back = undo([first], READING)
    assert not back.assessed
    assert back.supersedes == first.id
    with pytest.raises(AnnotationError, match="nothing to undo"):
        undo([], READING)


def test_an_annotation_of_another_frame_is_not_restated() -> None:
    here = decide(TARGET, SHOWN, Accept(), READING)
    there = decide(Target("i2", 0, TARGET.findings), None, Correct({"pneumonia": "absent"}), READING)
    with pytest.raises(AnnotationError, match="another frame"):
        restate(here, there, READING)


@given(st.lists(st.sampled_from(["accept", "absent", "reject", "undo"]), min_size=1, max_size=12))
def test_every_event_supersedes_the_one_before_whatever_the_reader_does(steps: list[str]) -> None:
    history: list[Annotation] = []
    for step in steps:
        last = history[-1] if history else None
        match step:
            case "accept":
                made = decide(TARGET, SHOWN, Accept(), READING, supersedes=last)
            case "absent":
                made = decide(TARGET, SHOWN, Correct({"pneumonia": "absent"}), READING, supersedes=last)
            case "reject":
                made = decide(TARGET, SHOWN, Reject(), READING, supersedes=last)
            case _:
                if not history:
                    continue
                made = undo(history, READING)
        assert made.supersedes == (last.id if last else None)
        history.append(made)
    assert len({made.id for made in history}) == len(history)
