"""What is asked of an image, and of which of its patient's sides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.errors import BadInputError
from medquorum.task import Finding, Task

EFFUSION = Finding("effusion", "SCT", "60046008", "Pleural effusion")
CARDIOMEGALY = Finding("cardiomegaly", "SCT", "8186001", "Cardiomegaly")
LEFT, RIGHT = EFFUSION.of_sides(["L", "R"])
TASK = Task((CARDIOMEGALY, LEFT, RIGHT), "DX")


def test_each_side_is_a_finding_of_its_own_coded_as_the_same_concept() -> None:
    assert (LEFT.key, LEFT.laterality, LEFT.name) == ("effusion_left", "L", "Pleural effusion, left")
    assert (RIGHT.key, RIGHT.laterality, RIGHT.name) == ("effusion_right", "R", "Pleural effusion, right")
    assert (LEFT.scheme, LEFT.code, LEFT.meaning) == (EFFUSION.scheme, EFFUSION.code, EFFUSION.meaning)
    assert EFFUSION.of_sides([]) == (EFFUSION,) and EFFUSION.name == "Pleural effusion"


def test_an_image_of_one_side_is_asked_of_that_side_alone() -> None:
    assert TASK.asked("L") == ("cardiomegaly", "effusion_left")
    assert TASK.asked("R") == ("cardiomegaly", "effusion_right")
    for both in ("", "B", "U"):
        assert TASK.asked(both) == TASK.keys
    assert Task((RIGHT,), "MG").asked("L") == ()


@pytest.mark.parametrize("sides", [["left"], ["L", "L"], ["B"], [""]], ids=["word", "twice", "both", "none"])
def test_a_side_is_left_or_right_once(sides: list[str]) -> None:
    with pytest.raises(BadInputError, match="the sides of finding 'effusion'"):
        EFFUSION.of_sides(sides)


def test_what_has_no_side_or_is_asked_twice_is_refused() -> None:
    with pytest.raises(BadInputError, match="of the side 'B'"):
        replace(EFFUSION, laterality="B")
    with pytest.raises(BadInputError, match="one concept of one side"):
        Task((LEFT, replace(LEFT, key="other")), "DX")
    with pytest.raises(BadInputError, match="not a short lower-case name"):
        replace(EFFUSION, key="e" * 36).of_sides(["L"])


@given(st.permutations([CARDIOMEGALY, *EFFUSION.of_sides("LR"), *replace(EFFUSION, key="x", code="1").of_sides("RL")]))
def test_mirrored_twice_is_as_before_and_swaps_sides_of_one_concept(findings: list[Finding]) -> None:
    others = Task(tuple(findings), "DX").mirrored
    assert others is not None
    for place, other in enumerate(others):
        one, its = findings[place], findings[other]
        assert others[other] == place and one.code == its.code
        assert {one.laterality, its.laterality} == ({"L", "R"} if one.laterality else {""})


def test_without_the_other_side_a_mirrored_image_has_no_name() -> None:
    assert Task((CARDIOMEGALY, LEFT), "DX").mirrored is None
    assert Task((CARDIOMEGALY, EFFUSION), "DX").mirrored == (0, 1)
