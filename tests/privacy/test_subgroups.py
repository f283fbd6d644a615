"""Subgroups: how they are written, whom they hold, and in how many one patient can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.privacy import wire
from medquorum.privacy.errors import PlanError
from medquorum.privacy.plan import Gate
from medquorum.privacy.subgroups import (
    AGES,
    EVERY_PATIENT,
    EVERYBODY,
    SEXES,
    UNKNOWN,
    Subgroup,
    SubgroupGate,
    Traits,
    band,
    of_patient,
    overlap,
    parsed,
    stated,
)

LINES = st.sampled_from((0, *AGES[1:]))
GROUP = (
    st.tuples(st.sampled_from(SEXES), LINES, LINES)
    .filter(lambda t: not 0 < t[2] <= t[1])
    .map(lambda t: Subgroup(t[0], t[1], t[2]))
)
PATIENT = st.sampled_from(EVERY_PATIENT)


def test_what_people_write() -> None:
    assert [one.name for one in parsed("sex")] == ["sex=F", "sex=M", "sex=O"]
    assert parsed("age<40") == (Subgroup("", 0, 40),) and parsed(" age >= 65 ") == (Subgroup("", 65),)
    assert parsed("age>=40 & age<65 & sex=F") == (Subgroup("F", 40, 65),)


@given(GROUP)
def test_a_name_reads_back_as_the_same_group(group: Subgroup) -> None:
    if group == EVERYBODY:
        assert group.name == "everybody"
    else:
        assert parsed(group.name) == (group,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no subgroup"),
        ("women", "names no subgroup"),
        ("sex=f", "names no subgroup"),
        ("sex=F & sex=M", "names no subgroup"),
        ("age<40 & age<50", "names no subgroup"),
        ("age<0", "names no subgroup"),
        ("age<41", "a subgroup's line at the age of 41"),
        ("age>=65 & age<40", "holds nobody"),
        ("age=40", "names no subgroup"),
    ],
)
def test_what_is_no_subgroup_is_refused(text: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        parsed(text)


@given(st.lists(GROUP, min_size=1, max_size=6), PATIENT)
def test_no_patient_is_in_more_groups_than_the_overlap_and_one_is_in_as_many(
    groups: list[Subgroup], patient: Traits
) -> None:
    most = overlap(groups)
    assert sum(group.holds(patient) for group in groups) <= most
    assert any(sum(group.holds(one) for group in groups) == most for one in EVERY_PATIENT)


def test_overlaps_that_can_be_told_by_hand() -> None:
    assert overlap(()) == 0
    assert overlap(parsed("sex")) == overlap((EVERYBODY,)) == 1
    assert overlap((*parsed("sex"), *parsed("age<40"), *parsed("age>=65"))) == 2
    assert overlap((EVERYBODY, *parsed("sex"), *parsed("age<40"), *parsed("age<65"))) == 4


@given(st.floats(0.0, 150.0), LINES.filter(bool), st.sampled_from(SEXES))
def test_a_band_says_of_each_line_on_which_side_an_age_lies(years: float, line: int, sex: str) -> None:
    patient = stated(sex.lower(), years)
    assert Subgroup("", line).holds(patient) == (years >= line)
    assert Subgroup("", 0, line).holds(patient) == (years < line)
    assert patient.sex == sex and patient.age in AGES


def test_ages_that_nobody_has_and_sexes_that_dicom_does_not_know_are_unknown() -> None:
    assert [band(years) for years in (None, -1.0, 151.0, float("nan"), float("inf"))] == [None] * 5
    assert stated("X", None) == stated("", 200.0) == UNKNOWN
    assert not any(group.holds(UNKNOWN) for group in (*parsed("sex"), *parsed("age<40"), *parsed("age>=40")))


@given(st.lists(PATIENT, max_size=6))
def test_a_patient_is_one_sex_and_one_age_whatever_their_images_state(images: list[Traits]) -> None:
    made = of_patient(images)
    assert made in EVERY_PATIENT
    assert made.sex in ({one.sex for one in images} | {""})
    known = {one.sex for one in images if one.sex}
    assert (made.sex == "") == (len(known) != 1)
    assert made.age in ({one.age for one in images} or {None})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"groups": ()}, "0 subgroups"),
        ({"groups": parsed("sex") * 2}, "named twice"),
        ({"groups": (EVERYBODY,)}, "of everybody"),
        ({"max_fall": 1.5}, "max_fall is 1.5"),
        ({"max_fall": 1.0}, "nothing can fail"),
        ({"floor": 1.0}, "floor is 1.0"),
        ({"minimum_patients": 0}, "minimum_patients is 0"),
        ({"groups": tuple(Subgroup(sex, age) for sex in SEXES for age in AGES[1:6])}, "20 subgroups"),
    ],
)
def test_gates_that_make_no_sense_are_refused(changes: dict[str, object], says: str) -> None:
    plain: dict[str, object] = {"groups": parsed("sex"), "max_fall": 0.1}
    with pytest.raises(PlanError, match=says):
        SubgroupGate(**(plain | changes))  # pyright: ignore[reportArgumentType]


@given(st.lists(GROUP.filter(lambda one: one != EVERYBODY), min_size=1, max_size=5, unique=True))
def test_gates_travel_and_have_one_encoding(groups: list[Subgroup]) -> None:
    gate = Gate(0, 1, SubgroupGate(tuple(groups), 0, 0, 7))
    assert wire.decode(Gate, wire.encode(gate)) == gate
