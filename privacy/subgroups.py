"""Subgroups of patients by sex and age, as a plan names them in public, and what a gate asks of each.

A patient's `Traits` are one sex and one band of age. Bands are as coarse as gates need them: a node keeps no finer age
for them, and a plan may draw its lines only between bands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, cast, get_args

from .errors import PlanError

Sex = Literal["", "F", "M", "O"]
SEXES: tuple[Sex, ...] = get_args(Sex)
"""DICOM's Patient's Sex (0010,0040); "" where it is not known."""
AGES = (0, 2, 12, 18, 30, 40, 50, 60, 65, 70, 80)
"""Where the bands of age begin, in years. The first four are those of ICH E11 (R1), newborns with infants."""
MOST = 16
"""Subgroups that one plan may name."""
_OLDEST = 150.0
_CONDITION = re.compile(r"sex=([FMO])|age(<|>=)([1-9][0-9]{0,2})")


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of a patient. sex: "" if nothing. age: where their band begins (one of AGES), None if nothing."""

    sex: Sex = ""
    age: int | None = None


UNKNOWN = Traits()
EVERY_PATIENT = tuple(Traits(sex, age) for sex, age in product(SEXES, (None, *AGES)))
"""All that a patient can be."""


def band(years: float | None) -> int | None:
    """Where the band of an age in years begins; None for an age that is not known or that nobody has."""
    if years is None or not 0.0 <= years <= _OLDEST:
        return None
    return max(start for start in AGES if start <= years)


def stated(sex: str, years: float | None) -> Traits:
    """The traits that a sex as DICOM writes it and an age in years make; what is neither is not known."""
    known: dict[str, Sex] = {one: one for one in SEXES}
    return Traits(known.get(sex.strip().upper(), ""), band(years))


def of_patient(stated: Iterable[Traits]) -> Traits:
    """One patient's traits from those of their images: the sex if they agree on one, the age at the latest of them.

    So each patient is in one cell of each attribute, whatever their images state.
    """
    kept = tuple(stated)
    sexes: set[Sex] = {one.sex for one in kept if one.sex}
    sex: Sex = sexes.pop() if len(sexes) == 1 else ""
    return Traits(sex, max((one.age for one in kept if one.age is not None), default=None))


@dataclass(frozen=True, slots=True)
class Subgroup:
    """The patients known to be of `sex` ("": any) and of age_from <= age < age_below in years (age_below 0: any).

    Who is not known to be in it is not. Without any condition: everybody. Raises PlanError for lines between no bands
    and for a range that holds nobody.
    """

    sex: Sex = ""
    age_from: int = 0
    age_below: int = 0

    def __post_init__(self) -> None:
        for age in (self.age_from, self.age_below):
            if age and age not in AGES:
                raise PlanError(
                    f"a subgroup's line at the age of {age}",
                    where="plan",
                    fix=f"draw it where a band of age begins: {', '.join(map(str, AGES[1:]))}",
                )
        if self.age_below and self.age_below <= self.age_from:
            raise PlanError(f"the subgroup {self.name!r} holds nobody", where="plan", fix="correct its ages")

    @property
    def name(self) -> str:
        """As `parsed` reads it; "everybody" without a condition."""
        conditions = [f"sex={self.sex}"] if self.sex else []
        conditions += [f"age>={self.age_from}"] if self.age_from else []
        conditions += [f"age<{self.age_below}"] if self.age_below else []
        return " & ".join(conditions) or "everybody"

    def holds(self, patient: Traits) -> bool:
        """Whether `patient` is in it."""
        if self.sex and patient.sex != self.sex:
            return False
        if not self.age_from and not self.age_below:
            return True
        return patient.age is not None and self.age_from <= patient.age and not 0 < self.age_below <= patient.age


EVERYBODY = Subgroup()


def parsed(text: str) -> tuple[Subgroup, ...]:
    """The subgroups that a text names: "sex" each sex; "sex=F", "age<40", "age>=65" or several with "&" between one.

    Raises PlanError for anything else.
    """
    if text.strip() == "sex":
        return tuple(Subgroup(sex) for sex in SEXES if sex)
    sex, least, below = "", 0, 0
    for part in text.split("&"):
        found = _CONDITION.fullmatch(part.replace(" ", ""))
        if found is None or (found[1] and sex) or (found[2] == "<" and below) or (found[2] == ">=" and least):
            raise PlanError(
                f"{text!r} names no subgroup",
                where="plan",
                fix='write "sex", "sex=F", "age<40", "age>=65", or several at once as "sex=F & age>=65"',
            )
        sex = found[1] or sex
        if found[2] == "<":
            below = int(found[3])
        elif found[2] == ">=":
            least = int(found[3])
    return (Subgroup(cast(Sex, sex), least, below),)


def overlap(groups: Sequence[Subgroup]) -> int:
    """In how many of `groups` one patient can be at once, at most: over everything that a patient can be."""
    return max((sum(group.holds(patient) for group in groups) for patient in EVERY_PATIENT), default=0)


@dataclass(frozen=True, slots=True)
class SubgroupGate:
    """What each of `groups` must show at a site's held-out patients, in AUROC (the mean over findings).

    max_fall: how far it may fall below the starting release's there; 1.0: as far as it likes. floor: below which it
    must not lie, whatever it was; 0.0: none. minimum_patients: a site asks a group about a finding only if this many
    patients, as counted under noise, are in it. bins: of a group's histograms, of equal width over [0, 1]; noise goes
    into every one, so few tell small groups more than many would. Raises PlanError outside these ranges.
    """

    groups: tuple[Subgroup, ...]
    max_fall: float
    floor: float = 0.0
    minimum_patients: int = 20
    bins: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_fall", float(self.max_fall))
        object.__setattr__(self, "floor", float(self.floor))
        for holds, what, fix in (
            (1 <= len(self.groups) <= MOST, f"{len(self.groups)} subgroups", f"name 1 to {MOST}"),
            (len(set(self.groups)) == len(self.groups), "a subgroup is named twice", "name each once"),
            (EVERYBODY not in self.groups, "a subgroup of everybody", "leave it out: a gate judges them anyway"),
            (0.0 <= self.max_fall <= 1.0, f"a subgroup's max_fall is {self.max_fall}", "choose it in [0, 1]"),
            (0.0 <= self.floor < 1.0, f"a subgroup's floor is {self.floor}", "choose it in [0, 1)"),
            (self.max_fall < 1.0 or self.floor > 0.0, "gates on subgroups that nothing can fail", "state a floor"),
            (2 <= self.bins <= 1000, f"subgroups in {self.bins} bins", "choose 2 to 1000"),
            (self.minimum_patients >= 1, f"minimum_patients is {self.minimum_patients}", "choose 1 or more"),
        ):
            if not holds:
                raise PlanError(what, where="plan", fix=fix)
