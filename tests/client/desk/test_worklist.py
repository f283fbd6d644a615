"""The order of the worklist, what it shows, and what reading it to its end selects."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.client.desk.worklist import (
    ORDERS,
    Entry,
    Query,
    disagreement,
    matches,
    neighbours,
    ordered,
    uncertainty,
)

BLANK = Entry("s", "P1", ("i",), 1, "20260101", "DX", "CHEST", "PA", "p1 dx chest pa", False, True, "unread")


def entries(scores: list[float | None], hidden: frozenset[int] = frozenset()) -> list[Entry]:
    """Studies s0, s1, … with these scores for every order."""
    return [
        replace(
            BLANK,
            study=f"s{place}",
            number=place,
            hidden=place in hidden,
            uncertainty=score,
            disagreement=score,
            urgency=score,
        )
        for place, score in enumerate(scores)
    ]


def test_most_uncertain_comes_first_and_unknown_last() -> None:
    found = ordered(entries([0.2, None, 0.9, 0.9]), "uncertainty")
    assert [entry.study for entry in found] == ["s2", "s3", "s0", "s1"]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=30), st.sampled_from(ORDERS))
def test_every_order_keeps_every_study_once(scores: list[float | None], order: str) -> None:
    found = ordered(entries(scores), order)  # pyright: ignore[reportArgumentType]
    assert sorted(entry.number for entry in found) == list(range(len(scores)))


@given(st.floats(0, 1), st.floats(0, 1), st.lists(st.floats(0, 1), max_size=12))
def test_a_hidden_study_stands_where_its_own_score_has_no_say(one: float, other: float, rest: list[float]) -> None:
    def place(score: float) -> list[str]:
        return [entry.study for entry in ordered(entries([score, *rest], frozenset({0})), "uncertainty")]

    assert place(one) == place(other)


def test_a_hidden_study_passes_every_threshold() -> None:
    sure = replace(BLANK, uncertainty=0.1)
    query = Query(uncertain_from=0.5)
    assert not matches(sure, query)
    assert matches(replace(sure, hidden=True), query)


def test_random_order_does_not_depend_on_scores_or_arrival() -> None:
    first = [entry.study for entry in ordered(entries([0.1, 0.5, 0.9, None]), "random")]
    again = [entry.study for entry in ordered(list(reversed(entries([0.9, 0.2, None, 0.3]))), "random")]
    assert first == again


def test_what_is_due_is_a_filter_of_its_own() -> None:
    due = replace(BLANK, turn=True)
    assert matches(due, Query(show="turn")) and matches(replace(due, status="begun"), Query(show="turn"))
    assert not matches(replace(due, status="read"), Query(show="turn"))
    assert matches(replace(due, status="read", again=True), Query(show="turn"))
    assert not matches(replace(BLANK, turn=False), Query(show="turn"))


def test_search_wants_every_word_and_filters_by_status() -> None:
    assert matches(BLANK, Query(find="CHEST p1"))
    assert not matches(BLANK, Query(find="chest p2"))
    assert not matches(replace(BLANK, status="read"), Query())
    assert matches(replace(BLANK, status="read"), Query(show="read"))
    assert matches(replace(BLANK, status="begun"), Query())


def test_uncertainty_is_that_of_the_least_certain_finding() -> None:
    assert uncertainty([0.99, 0.5]) == 1.0
    assert uncertainty([0.75]) == pytest.approx(0.5)
    assert uncertainty([]) is None


def test_disagreement_between_readers_and_with_the_model() -> None:
    assert disagreement([{"a": "present", "b": "absent"}, {"a": "absent", "b": "absent"}], None, ["a", "b"]) == 0.5
    # Of a film of one side, what is asked of the other side is no agreement.
    assert disagreement([{"a": "present"}, {"a": "absent"}], None, ["a", "b"]) == 1.0
    assert disagreement([{"a": "present"}], {"a": 0.1}, ["a"]) == pytest.approx(0.9)
    assert disagreement([{"a": "uncertain"}], {"a": 0.1}, ["a"]) is None
    assert disagreement([], {"a": 0.1}, ["a"]) is None


def test_next_goes_round_and_previous_does_not() -> None:
    listed = entries([0.9, 0.8, 0.7])
    assert neighbours(listed, "s2", Query()) == ("s1", "s0")
    done = [replace(listed[0], status="read"), *listed[1:]]
    assert neighbours(done, "s1", Query()) == (None, "s2")
    assert neighbours(done[:1], "s0", Query()) == (None, None)
