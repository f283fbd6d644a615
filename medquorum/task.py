"""What is asked of an image: the findings to look for, and the images the question applies to.

The lowest floor beside `errors`, because plans (privacy/) and model cards (models/) both carry a task and neither
of those packages may import the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import BadInputError

_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One coded observation that a reader states present, absent, uncertain, or leaves unassessed.

    `key` is our short name (lower case, digits, underscores); `scheme`, `code` and `meaning` are the DICOM coded
    entry (PS3.3 section 8.8), for example ("SCT", "233604007", "Pneumonia").
    """

    key: str
    scheme: str
    code: str
    meaning: str

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise BadInputError(
                f"finding key {self.key!r} is not a short lower-case name",
                fix="use letters, digits and underscores, beginning with a letter, at most 40",
            )
        for name, value in (("scheme", self.scheme), ("code", self.code), ("meaning", self.meaning)):
            if not value:
                raise BadInputError(f"finding {self.key!r} has no {name}", fix=f"give its coded {name}")


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

    @property
    def keys(self) -> tuple[str, ...]:
        """The findings' keys, in the order in which every vector of logits or labels lists them."""
        return tuple(finding.key for finding in self.findings)
