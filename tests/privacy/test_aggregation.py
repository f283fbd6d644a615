"""The plain sum, both sides: what is opened is the sum over the survivors, or nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.privacy import wire
from medquorum.privacy.aggregation import PlainCoordinator, PlainSite, PlainVector
from medquorum.privacy.errors import AggregationError, WireError

COHORT = ("north", "south", "west")


def answer(values: list[float]) -> bytes:
    return PlainSite().answer(b"", lambda: np.array(values, dtype=np.float64))


@given(
    st.sets(st.sampled_from(COHORT), min_size=2),
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), min_size=3, max_size=3),
)
def test_the_sum_is_that_of_the_survivors(survivors: set[str], vectors: list[list[float]]) -> None:
    coordinator = PlainCoordinator(COHORT, quorum=2, length=4)
    assert dict(coordinator.requests()) == dict.fromkeys(COHORT, b"")
    assert coordinator.opened is None
    held = dict(zip(COHORT, vectors, strict=True))
    coordinator.receive({site: answer(held[site]) for site in survivors})
    opened = coordinator.opened
    assert opened is not None
    assert opened.survivors == tuple(site for site in COHORT if site in survivors)
    assert np.allclose(opened.total, np.sum([held[site] for site in survivors], axis=0))
    assert not coordinator.requests()


def test_below_the_quorum_nothing_is_opened_and_the_missing_are_named() -> None:
    coordinator = PlainCoordinator(COHORT, quorum=2, length=1)
    with pytest.raises(AggregationError, match=r"1 of 3 sites answered.*missing: north, west"):
        coordinator.receive({"south": answer([1.0])})
    assert coordinator.opened is None


def test_a_stranger_is_refused() -> None:
    coordinator = PlainCoordinator(COHORT, quorum=1, length=1)
    with pytest.raises(AggregationError, match="outside the cohort"):
        coordinator.receive({"east": answer([1.0])})
    assert coordinator.opened is None


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_vector_of_another_length_is_refused(values: list[float]) -> None:
    coordinator = PlainCoordinator(COHORT, quorum=1, length=2)
    with pytest.raises(AggregationError, match="instead of 2"):
        coordinator.receive({"north": answer(values)})
    assert coordinator.opened is None


def test_a_site_contributes_once_and_only_when_its_step_is_right() -> None:
    calls: list[int] = []

    def contribution() -> np.ndarray:
        calls.append(1)
        return np.zeros(2)

    with pytest.raises(AggregationError, match="without content"):
        PlainSite().answer(b"surprise", contribution)
    assert not calls
    PlainSite().answer(b"", contribution)
    assert len(calls) == 1


def test_an_answer_that_is_none_is_refused() -> None:
    coordinator = PlainCoordinator(COHORT, quorum=1, length=1)
    with pytest.raises(WireError):
        coordinator.receive({"north": b"junk"})
    assert coordinator.opened is None


def test_a_vector_cut_in_the_middle_of_a_value_is_refused() -> None:
    coordinator = PlainCoordinator(COHORT, quorum=1, length=1)
    with pytest.raises(AggregationError, match="instead of 1"):
        coordinator.receive({"north": wire.encode(PlainVector(b"\x00" * 7))})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_vector_that_is_not_finite_is_refused(value: float) -> None:
    coordinator = PlainCoordinator(COHORT, quorum=1, length=1)
    with pytest.raises(AggregationError, match="not finite"):
        coordinator.receive({"north": answer([value])})
    assert coordinator.opened is None
