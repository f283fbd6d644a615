"""Dates and times moved as bytes, against datetime, at every precision; what is none becomes nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.client.deidentify.dates import shift_date, shift_moment, shift_time

SPANS = st.timedeltas(timedelta(days=-3651), timedelta(days=-366)).map(lambda span: timedelta(span.days, span.seconds))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0))


@given(MOMENTS, SPANS)
def test_a_date_and_its_time_move_over_midnight_together(at: datetime, span: timedelta) -> None:
    date, time = at.strftime("%Y%m%d").encode(), at.strftime("%H%M%S").encode()
    moved = at + span
    assert shift_date(date, time, span) == moved.strftime("%Y%m%d").encode()
    assert shift_time(time, span) == moved.strftime("%H%M%S").encode()
    assert shift_moment(date + time + b".123456+0100", span) == moved.strftime("%Y%m%d%H%M%S.123456").encode()


@given(MOMENTS, SPANS, st.sampled_from([4, 6, 8, 10, 12, 14]))
def test_the_precision_stays(at: datetime, span: timedelta, digits: int) -> None:
    text = at.strftime("%Y%m%d%H%M%S").encode()
    assert len(shift_moment(text[:digits], span)) == digits
    if digits <= 6:
        assert len(shift_time(text[8 : 8 + digits], span)) == digits


@given(st.binary(max_size=20))
def test_nothing_but_digits_comes_out(value: bytes) -> None:
    span = timedelta(days=-400, seconds=-5)
    for made in (shift_date(value, value, span), shift_time(value, span), shift_moment(value, span)):
        assert not made.strip(b"0123456789.")


@pytest.mark.parametrize("value", [b"", b"20240230", b"2024-01-02", b"00010101", b"yesterday", b"99999999"])
def test_what_is_no_date_becomes_nothing(value: bytes) -> None:
    assert shift_date(value, b"", timedelta(days=-400)) == b""


def test_old_forms_are_read() -> None:
    span = timedelta(days=-400, seconds=-3600)
    assert shift_date(b"2024.01.02", b"10:15:00", span) == b"20221128"
    assert shift_time(b"10:15:00.5", span) == b"091500.5"
    assert shift_time(b"2561", span) == shift_time(b"noon", span) == b""
