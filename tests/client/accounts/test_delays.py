"""How guessing is slowed: never for a first mistake, always more, and never for good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.client.accounts.delays import FORGOTTEN, FREE, LONGEST, Failures, failed, spared, wait


@pytest.mark.parametrize("kind", sorted(FREE))
def test_the_first_mistakes_cost_nothing_and_later_ones_twice_as_much_each(kind: str) -> None:
    failures, waits = Failures(), list[float]()
    for _ in range(FREE[kind] + 14):
        waits.append(wait(kind, failures, 1000.0))
        failures = failed(failures, 1000.0)
    assert waits[: FREE[kind]] == [0.0] * FREE[kind]
    assert waits[FREE[kind] :][:10] == [2.0**power for power in range(10)][:10]
    assert waits[-1] == LONGEST


@given(st.integers(0, 10**6), st.floats(0.0, 4e9), st.floats(0.0, 4e9))
def test_no_wait_is_longer_than_a_quarter_of_an_hour(count: int, at: float, now: float) -> None:
    for kind in FREE:
        assert 0.0 <= wait(kind, Failures(count, at), now) <= LONGEST
        assert wait(kind, Failures(count, at), at + LONGEST) == 0.0


def test_how_many_guesses_a_year_get_through() -> None:
    now, failures, guesses = 0.0, Failures(), 0
    while now < 365 * 86400.0:
        now += wait("account", failures, now)
        failures, guesses = failed(failures, now), guesses + 1
    assert guesses < 36_000


def test_after_a_day_all_is_forgotten() -> None:
    assert wait("account", Failures(1000, 0.0), FORGOTTEN) == 0.0
    assert failed(Failures(1000, 0.0), FORGOTTEN).count == 1


def test_what_was_no_failure_is_taken_back() -> None:
    assert spared(failed(Failures(3, 1.0), 2.0)).count == 3
    assert spared(Failures()).count == 0
