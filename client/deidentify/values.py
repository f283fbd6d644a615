"""What becomes of single values, as the bytes of a file: checked against their VR, cleaned by words, or replaced.

Everything works on bytes in the file's own character set. What is kept of free text is ASCII words of a fixed list,
which every character set of DICOM encodes alike; text with escape sequences, whose bytes mean something else, goes.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

DUMMY_TEXT = b"REMOVED"
_DUMMIES = {
    "DA": b"19000101",
    "TM": b"000000",
    "DT": b"19000101000000",
    "AS": b"000D",
    "DS": b"0",
    "IS": b"0",
    "UR": b"urn:removed",
    "AT": b"\0\0\0\0",
    "FD": bytes(8),
    "FL": bytes(4),
    "SL": bytes(4),
    "UL": bytes(4),
    "SS": b"\0\0",
    "US": b"\0\0",
    "SV": bytes(8),
    "UV": bytes(8),
    "OB": b"\0\0",
    "OW": b"\0\0",
    "OF": bytes(4),
    "OL": bytes(4),
    "OD": bytes(8),
    "OV": bytes(8),
    "UN": b"\0\0",
}
# Padding of the strings whose last byte may be added to make their length even (PS3.5 section 6.2).
TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"))
_FORMS = {
    # Code strings in lower case are wrong and common, and harm nobody.
    "CS": re.compile(rb"[A-Za-z0-9 _/.+-]{0,16}"),
    "DS": re.compile(rb" *(?:[+-]?[0-9]{0,14}\.?[0-9]{0,14}(?:[eE][+-]?[0-9]{1,3})?)? *"),
    "IS": re.compile(rb" *[+-]?[0-9]{0,11} *"),
    "AS": re.compile(rb"(?:[0-9]{3}[DWMY])? *"),
    "DA": re.compile(rb"(?:[0-9]{4}\.?[0-9]{2}\.?[0-9]{2})? *"),
    "TM": re.compile(rb"(?:[0-9]{2}(?::?[0-9]{2}){0,2}(?:\.[0-9]{1,6})?)? *"),
    "DT": re.compile(rb"(?:[0-9]{4,14}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})?)? *"),
    "UI": re.compile(rb"[0-9.]{0,64}"),
}
_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "SV": 8, "UV": 8, "AT": 4}
_WORDS = re.compile(rb"[A-Za-z]+")
_ESCAPE = b"\x1b"
_ELDEST = 90


def padded(value: bytes, vr: str) -> bytes:
    """The value at even length."""
    if len(value) % 2 == 0:
        return value
    return value + (b" " if vr in TEXT else b"\0")


def dummy(vr: str) -> bytes:
    """A value that means nothing, valid for the VR."""
    return padded(_DUMMIES.get(vr, DUMMY_TEXT), vr)


def checked(value: bytes, vr: str) -> bytes:
    """The value if it is of its VR's form (a number, a code, a date), else b"": text hides in no such element.

    VRs without a form (text, whole tables) pass as they are.
    """
    form = _FORMS.get(vr)
    if form is not None:
        plain = value.rstrip(b"\0")
        if form.fullmatch(plain) or all(form.fullmatch(part) for part in plain.split(b"\\")):
            return value
        return b""
    size = _SIZES.get(vr)
    return value if size is None or len(value) % size == 0 else b""


def cleaned(value: bytes) -> bytes:
    """Of free text, the words of the list, in their order; numbers and everything else go."""
    if not value or _ESCAPE in value:
        return b""
    words = safe_words()
    parts = (b" ".join(w for w in _WORDS.findall(part) if w.lower() in words) for part in value.split(b"\\"))
    kept = b"\\".join(parts)
    return kept if kept.strip(b"\\") else b""


def capped_age(value: bytes) -> bytes:
    """An age (AS), no more than 90 years: so few are older that the age alone could name them."""
    plain = value.strip(b" \0")
    if not _FORMS["AS"].fullmatch(plain) or not plain:
        return b""
    years = int(plain[:3]) / {b"D": 365.25, b"W": 52.18, b"M": 12.0, b"Y": 1.0}[plain[3:4]]
    return b"%03dY" % _ELDEST if years > _ELDEST else plain


@cache
def safe_words() -> frozenset[bytes]:
    """Words of anatomy, projection and technique that may stay of free text; lower case."""
    topics: dict[str, str] = json.loads(
        files(__name__.rpartition(".")[0]).joinpath("safe_words.json").read_text(encoding="ascii")
    )
    return frozenset(word.encode() for topic in topics.values() for word in topic.split())
