"""How a study's images are hung: which comes first, which stand side by side, which way up the patient lies. Pure.

Sides are never guessed: letters stand at a picture's edges only where its file says how the patient lay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.dataset import Dataset

from ..store.desk import DeskRow

# A direction of Patient Orientation (PS3.3 C.7.6.1.1.1) in a person: left, right, anterior, posterior, head, foot.
_DIRECTION = re.compile(r"[LRAPHF]{1,3}")
_AXES = (("L", "R"), ("P", "A"), ("H", "F"))
# sin 15 degrees: a direction that leans less than that towards an axis does not name it.
_LEANS = 0.2588


def hung(rows: Sequence[DeskRow], numbers: Mapping[str, tuple[int, int]]) -> list[DeskRow]:
    """A study's images in the order in which they are looked at.

    Frontal views come before others; of one view the right side comes before the left; after that series and instance
    number as their files state them (`numbers`, by image), and last the order of arrival.
    """
    return sorted(rows, key=lambda row: (*_place(row), *numbers.get(row.image.id, (0, 0)), row.number))


def _place(row: DeskRow) -> tuple[bool, str, int]:
    view = row.image.view.upper()
    return view not in ("", "PA", "AP"), _protocol(view), "RLB".find(row.image.laterality or "B")


def _protocol(view: str) -> str:
    """Mammography hangs MLO before CC; other views have no order but that of their names."""
    return {"MLO": "0", "CC": "1"}.get(view, f"2{view}")


def stacks(rows: Sequence[DeskRow]) -> list[int]:
    """For each image in their order, the number of the stack that it lies in, counted from 0.

    Slices are images of one frame, of one series, size, view and side; every other image is a stack of its own.
    """
    known: dict[object, int] = {}
    found: list[int] = []
    for row in rows:
        image = row.image
        single = row.series, image.rows, image.columns, image.view, image.laterality
        key: object = single if image.frames == 1 else image.id
        found.append(known.setdefault(key, len(known)))
    return found


def orientation(dataset: Dataset, frame: int) -> tuple[str, str] | None:
    """Where the picture's right and lower edges lie in the patient ("L", "F"), as the file says it; None when it does
    not: Patient Orientation, or else the direction cosines of the frame's plane (PS3.3 C.7.6.2.1.1)."""
    stated = _values(dataset, "PatientOrientation")
    if len(stated) == 2 and all(_DIRECTION.fullmatch(str(one).upper()) for one in stated):
        return str(stated[0]).upper(), str(stated[1]).upper()
    cosines = _values(dataset, "ImageOrientationPatient") or _plane(dataset, frame)
    try:
        numbers = [float(one) for one in cosines]
    except (TypeError, ValueError):
        return None
    if len(numbers) != 6:
        return None
    right, down = _letters(numbers[:3]), _letters(numbers[3:])
    return (right, down) if right and down else None


def _letters(cosines: Sequence[float]) -> str:
    leaning = sorted(
        ((abs(cosine), pair[cosine < 0]) for cosine, pair in zip(cosines, _AXES, strict=True) if abs(cosine) > _LEANS),
        reverse=True,
    )
    return "".join(letter for _, letter in leaning)


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    try:
        found = dataset.get(keyword)
    except Exception:  # pydicom raises whatever a broken element made it trip over
        return []
    return list(found) if found is not None and not isinstance(found, str) else []


def _plane(dataset: Dataset, frame: int) -> list[Any]:
    """The plane of a frame of an enhanced image, from its own functional groups or those that all frames share."""
    for keyword, place in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        try:
            found = _values(dataset[keyword][place].PlaneOrientationSequence[0], "ImageOrientationPatient")
        except Exception:  # absent, too short, or broken
            continue
        if found:
            return found
    return []
