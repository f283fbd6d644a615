"""What is asked of an image: the findings to look for, and the images the question applies to.

The lowest floor beside `errors`, because plans (privacy/) and model cards (models/) both carry a task and neither
of those packages may import the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from .errors import BadInputError

Laterality = Literal["", "L", "R"]

SIDES: dict[Laterality, str] = {"L": "left", "R": "right"}
"""The patient's sides in words."""
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One coded observation that a reader states present, absent, uncertain, or leaves unassessed.

    `key` is our short name (lower case, digits, underscores); `scheme`, `code` and `meaning` are the DICOM coded
    entry (PS3.3 section 8.8), for example ("SCT", "233604007", "Pneumonia"). `laterality` is the patient's side that is
    asked about, "L" or "R", and "" where the side does not matter: each side of a concept is a finding of its own, with
    its own key, and what is bilateral is present on both.
    """

    key: str
    scheme: str
    code: str
    meaning: str
    # Left out of messages and cards where it is "", so that what was signed and hashed before there were sides holds.
    laterality: Laterality = field(default="", metadata={"default_omitted": True})

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise BadInputError(
                f"finding key {self.key!r} is not a short lower-case name",
                fix="use letters, digits and underscores, beginning with a letter, at most 40",
            )
        for name, value in (("scheme", self.scheme), ("code", self.code), ("meaning", self.meaning)):
            if not value:
                raise BadInputError(f"finding {self.key!r} has no {name}", fix=f"give its coded {name}")
        if self.laterality and self.laterality not in SIDES:
            raise BadInputError(
                f"finding {self.key!r} is of the side {self.laterality!r}",
                fix='use "L", "R", or "" for no side',
            )

    @property
    def name(self) -> str:
        """What it is called in a sentence or a table: the meaning, and the side where there is one."""
        return f"{self.meaning}, {SIDES[self.laterality]}" if self.laterality else self.meaning

    def asked_of(self, laterality: str) -> bool:
        """Whether it is asked of an image whose own Laterality is "L", "R", "B" or "" (unpaired, or not stated): an
        image of one side says nothing about the other."""
        return not self.laterality or laterality not in SIDES or laterality == self.laterality

    def of_sides(self, sides: Sequence[str]) -> tuple[Finding, ...]:
        """The finding asked of each of these sides by itself, under keys such as "effusion_left"; itself for none."""
        if not sides:
            return (self,)
        known: dict[str, Laterality] = {side: side for side in SIDES}
        if not set(sides) <= known.keys() or len(set(sides)) != len(sides):
            raise BadInputError(
                f"the sides of finding {self.key!r} are {list(sides)}", fix='use ["L", "R"], ["L"] or ["R"]'
            )
        return tuple(replace(self, key=f"{self.key}_{SIDES[known[side]]}", laterality=known[side]) for side in sides)


@dataclass(frozen=True, slots=True)
class Task:
    """The findings asked for and the images they are asked of.

    `modality` is a DICOM Modality (0008,0060) such as "DX"; `body_part` and `view` are compared with Body Part
    Examined (0018,0015) and View Position (0018,5101), and an empty string accepts any value.
    """

    findings: tuple[Finding, ...]
    modality: str
    body_part: str = ""
    view: str = ""

    def __post_init__(self) -> None:
        keys = self.keys
        if not keys:
            raise BadInputError("the task asks for no finding", fix="name at least one finding")
        if len(set(keys)) != len(keys):
            raise BadInputError("two findings of the task share a key", fix="give each finding its own key")
        if not self.modality:
            raise BadInputError("the task names no modality", fix='give a DICOM modality such as "DX"')
        sided = [(one.scheme, one.code, one.laterality) for one in self.findings if one.laterality]
        if len(set(sided)) != len(sided):
            raise BadInputError("two findings of the task are one concept of one side", fix="ask for each side once")

    @property
    def keys(self) -> tuple[str, ...]:
        """The findings' keys, in the order in which every vector of logits or labels lists them."""
        return tuple(finding.key for finding in self.findings)

    def asked(self, laterality: str) -> tuple[str, ...]:
        """The keys of the findings that are asked of an image of this Laterality (see Finding.asked_of)."""
        return tuple(finding.key for finding in self.findings if finding.asked_of(laterality))

    @property
    def mirrored(self) -> tuple[int, ...] | None:
        """For each finding, the place of the one that it becomes when an image is mirrored left to right: the other
        side of its concept, itself where it has no side. None where another side is not asked for: then a mirrored
        image shows what the task has no word for.
        """
        places = {(one.scheme, one.code, one.laterality): place for place, one in enumerate(self.findings)}
        found: list[int] = []
        for place, one in enumerate(self.findings):
            side = "R" if one.laterality == "L" else "L"
            other = places.get((one.scheme, one.code, side)) if one.laterality else place
            if other is None:
                return None
            found.append(other)
        return tuple(found)
