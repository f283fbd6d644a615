"""Dates (DA), times (TM) and date-times (DT) moved by one span, as bytes, at the precision they have (PS3.5 6.2)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_DATE = re.compile(rb"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
_TIME = re.compile(rb"([0-9]{2}):?(?:([0-9]{2}):?(?:([0-9]{2})(\.[0-9]{1,6})?)?)?")
_MOMENT = re.compile(
    rb"([0-9]{4})([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?(\.[0-9]{1,6})?([+-][0-9]{4})?"
)


def _moved(at: datetime, span: timedelta) -> datetime | None:
    try:
        return at + span
    except OverflowError:
        return None


def shift_date(date: bytes, time: bytes, span: timedelta) -> bytes:
    """A DA moved together with the TM that belongs to it (b"" where none does); b"" for what is no date."""
    found = _DATE.fullmatch(date)
    if found is None:
        return b""
    clock = _clock(time) or timedelta()
    try:
        day = datetime(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return b""
    moved = _moved(day + clock, span)
    return b"" if moved is None else b"%04d%02d%02d" % (moved.year, moved.month, moved.day)


def _clock(time: bytes) -> timedelta | None:
    found = _TIME.fullmatch(time)
    if found is None:
        return None
    hours, minutes, seconds = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def shift_time(time: bytes, span: timedelta) -> bytes:
    """A TM moved round the clock, at its own precision; b"" for what is no time. Fractions of a second stay."""
    found = _TIME.fullmatch(time)
    clock = _clock(time)
    if found is None or clock is None:
        return b""
    seconds = int((clock + span).total_seconds()) % 86400
    full = b"%02d%02d%02d" % (seconds // 3600, seconds // 60 % 60, seconds % 60)
    return full[: 2 + 2 * (found[2] is not None) + 2 * (found[3] is not None)] + (found[4] or b"")


def shift_moment(moment: bytes, span: timedelta) -> bytes:
    """A DT moved, at its own precision; b"" for what is none. The offset from UTC, which tells where, is dropped."""
    found = _MOMENT.fullmatch(moment)
    if found is None:
        return b""
    parts = [int(part) if part else None for part in found.groups()[:6]]
    try:
        at = datetime(parts[0] or 1, parts[1] or 1, parts[2] or 1, parts[3] or 0, parts[4] or 0, min(parts[5] or 0, 59))
    except ValueError:
        return b""
    moved = _moved(at, span)
    if moved is None:
        return b""
    full = moved.strftime("%Y").zfill(4).encode() + moved.strftime("%m%d%H%M%S").encode()
    digits = 4 + 2 * sum(part is not None for part in parts[1:])
    return full[:digits] + (found[7] or b"")
