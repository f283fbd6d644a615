"""The shape of a parsed data set: how deep, how many elements, how large, and whether each is what it says it is.

pydicom converts a value when it is first looked at, and goes down into sequences by recursion; a file can therefore
look harmless until something touches the wrong element. Here every sequence is opened, level by level and without
recursion of ours, and the raw elements are judged before anything converts them.
"""

from __future__ import annotations

from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import VR

from ..pixels import Limits, UnreadableError
from ..pixels.unreadable import first_line

_KNOWN_VRS = frozenset(str(vr.value) for vr in VR)
# Float, double and integer pixel data, and the values of a group's length; their size is bounded elsewhere.
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_UNDEFINED = 0xFFFFFFFF
# PS3.5 table 6.2-1 allows 12 (IS) and 16 (DS) characters; archives hold longer ones, but no number needs this many.
_LONGEST_NUMBER = 64


def check_structure(dataset: Dataset, limits: Limits) -> None:
    """Raise UnreadableError (too-deep, too-many-elements, too-large, truncated, bad-header) for what is out of bounds.

    Whole numbers and decimals of more than 64 characters count as bad, since converting one may take seconds.
    """
    waiting: list[tuple[Dataset, int]] = [(dataset, 0)]
    count = 0
    while waiting:
        current, depth = waiting.pop()
        if depth > limits.depth:
            raise UnreadableError("too-deep", f"its sequences lie more than {limits.depth} deep in each other")
        for tag in list(current.keys()):
            count += 1
            if count > limits.elements:
                raise UnreadableError("too-many-elements", f"it has more than {limits.elements} elements")
            if _is_sequence(current, tag, limits):
                waiting.extend((item, depth + 1) for item in _items(current, tag))


def _is_sequence(current: Dataset, tag: BaseTag, limits: Limits) -> bool:
    """Judge one element as it was read, and say whether it holds items."""
    raw: Any = current.get_item(tag)
    vr = None if raw.VR is None else str(raw.VR)
    if vr is not None and vr not in _KNOWN_VRS:
        raise UnreadableError("bad-header", f"element {tag} has a value representation {vr!r}, which DICOM has not")
    value: Any = raw.value
    holds_items = vr == "SQ" or (vr in (None, "UN") and _listed(tag) == "SQ")
    if isinstance(value, bytes):
        stated = getattr(raw, "length", len(value))
        if stated not in (_UNDEFINED, len(value)):
            raise UnreadableError("truncated", f"the file ends inside element {tag}")
        if tag not in _PIXELS and not holds_items:
            if len(value) > limits.element_bytes:
                raise UnreadableError(
                    "too-large", f"element {tag} has {len(value)} bytes; {limits.element_bytes} are allowed"
                )
            if vr in ("IS", "DS") or (vr is None and len(value) > _LONGEST_NUMBER and _listed(tag) in ("IS", "DS")):
                _check_numbers(tag, value)
    return holds_items


def _check_numbers(tag: BaseTag, value: bytes) -> None:
    longest = max(map(len, value.split(b"\\")))
    if longest > _LONGEST_NUMBER and len(value.strip(b" \0")) > _LONGEST_NUMBER:
        raise UnreadableError("bad-header", f"element {tag} holds a number of {longest} characters")


def _listed(tag: BaseTag) -> str:
    """The element's value representation by the dictionary, "" when it is not listed (private, or newer)."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _items(current: Dataset, tag: BaseTag) -> list[Dataset]:
    try:
        value: Any = current[tag].value
    except RecursionError:
        raise UnreadableError("too-deep", "its sequences are nested too deeply to be read") from None
    except Exception as error:  # pydicom raises whatever a broken item made it trip over
        raise UnreadableError("bad-header", f"sequence {tag} cannot be read ({first_line(error)})") from error
    return [] if value is None else [item for item in value if isinstance(item, Dataset)]
