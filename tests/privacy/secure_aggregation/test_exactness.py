"""The opened sum is the plain sum to within the stated bound, whatever the values; rounding is unbiased; masks hide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medquorum.privacy.errors import AggregationError
from medquorum.privacy.plan import PlanSite
from medquorum.privacy.secure_aggregation import Session, ring
from medquorum.privacy.secure_aggregation.keystream import PIECE, Mask, apply_masks


def session(patients: tuple[int, ...], length: int, value_range: float = 1.0) -> Session:
    sites = tuple(PlanSite(f"site{i:04d}", count) for i, count in enumerate(patients))
    return Session("c", b"p" * 32, "update", 1, 0, sites, 0, length, value_range)


def ring_sum(terms: Session, vectors: list[Any]) -> tuple[Any, int]:
    """What the coordinator opens: every vector quantised at its own site, added mod 2^32."""
    total = np.zeros(terms.length + 1, dtype="<u4")
    for i, (site, vector) in enumerate(zip(terms.cohort, vectors, strict=True)):
        total += ring.mask_vector(vector, terms.limit(site.name), terms.step, [], bytes([i % 256] * 32))
    return ring.open_vector(total, terms.step)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 100_000), min_size=2, max_size=12),
    st.integers(1, 40),
    st.floats(1e-12, 1e12),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.01, 1.0, 1.5, 100.0]),
)
def test_the_opened_sum_is_the_plain_sum_within_the_bound(
    patients: list[int], length: int, value_range: float, seed: int, spread: float
) -> None:
    terms = session(tuple(patients), length, value_range)
    draw = np.random.default_rng(seed)
    limits = [terms.limit(site.name) for site in terms.cohort]
    vectors = [draw.uniform(-spread, spread, length) * limit for limit in limits]
    plain = np.sum([np.clip(v, -limit, limit) for v, limit in zip(vectors, limits, strict=True)], axis=0)
    opened, saturated = ring_sum(terms, vectors)
    assert np.abs(opened - plain).max() < terms.error_bound
    assert saturated == sum(int((np.abs(v) > limit).sum()) for v, limit in zip(vectors, limits, strict=True))


@pytest.mark.parametrize("patients", [(1, 1, 1), (7,) * 10, (1, 10, 99_999), (3,) * 1000])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_whole_cohort_at_its_limits_does_not_wrap(patients: tuple[int, ...], sign: float) -> None:
    terms = session(patients, 50)
    opened, saturated = ring_sum(terms, [np.full(50, sign * 10 * terms.limit(s.name)) for s in terms.cohort])
    assert np.abs(opened - sign * sum(patients)).max() < terms.error_bound
    assert saturated == 50 * len(patients)


def test_the_bound_is_met_by_the_protocol_itself(consortium: Any) -> None:
    group = consortium(4, length=3 * PIECE // 2)
    coordinator = group.coordinator()
    group.run(coordinator, group.sites())
    assert np.abs(coordinator.opened.total - group.plain(group.names)).max() < group.base.session("abcd").error_bound
    assert coordinator.saturated == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 8), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([3.0, 2.0**28, 2.0**40]))
def test_whole_numbers_are_summed_exactly_modulo_the_ring(n: int, length: int, seed: int, spread: float) -> None:
    draw = np.random.default_rng(seed)
    vectors = [np.rint(draw.uniform(-spread, spread, length)) for _ in range(n)]
    # Pairs of masks that cancel, as those of two sites do.
    total = np.zeros(length + 1, dtype="<u4")
    for place, vector in enumerate(vectors):
        masks = [
            Mask(bytes([min(place, other)]) * 31 + bytes([max(place, other)]), 1 if place < other else -1)
            for other in range(n)
            if other != place
        ]
        total += ring.mask_whole(vector, masks)
    opened, saturated = ring.open_vector(total, 1.0)
    exact = np.sum(vectors, axis=0)
    assert saturated == 0
    assert np.array_equal(opened, (exact + 2.0**31) % 2.0**32 - 2.0**31)
    if n * spread < 2.0**31:
        assert np.array_equal(opened, exact)


def test_saturated_values_are_counted_inside_the_mask(consortium: Any) -> None:
    group = consortium(3, length=10)
    group.vectors["a"][:4] = 1000.0
    group.vectors["b"][0] = -1000.0
    coordinator = group.coordinator()
    group.run(coordinator, group.sites())
    assert coordinator.saturated == 5
    assert coordinator.opened.total[1] == pytest.approx(10.0 + group.vectors["b"][1] + group.vectors["c"][1], abs=1e-6)


def test_rounding_is_unbiased_and_random() -> None:
    step = 1.0
    for value in (0.25, -0.25, 0.999, -7.5, 123456.125):
        size = 200_000
        words = ring.mask_vector(np.full(size, value), 1e6, step, [], b"r" * 32)[:-1].view("<i4").astype(float)
        assert set(np.unique(words)) <= {np.floor(value), np.floor(value) + 1}
        fraction = value - np.floor(value)
        assert abs(words.mean() - value) < 5 * np.sqrt(fraction * (1 - fraction) / size)
    one = ring.mask_vector(np.full(1000, 0.5), 1e6, step, [], b"1" * 32)
    assert (one != ring.mask_vector(np.full(1000, 0.5), 1e6, step, [], b"2" * 32)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(AggregationError, match="not finite"):
        ring.mask_vector(np.array([0.0, bad, 1.0]), 1.0, 1e-6, [], bytes(32))


def test_other_shapes_and_types_are_refused(consortium: Any) -> None:
    for bad in (np.zeros((2, 2)), np.zeros(4, dtype=np.float32)):
        with pytest.raises(AggregationError, match="contribution of shape"):
            ring.mask_vector(bad, 1.0, 1e-6, [], bytes(32))
    group = consortium(3)
    group.vectors["b"] = np.zeros(19)
    with pytest.raises(AggregationError, match="sum of 20 values"):
        group.run(group.coordinator(), group.sites())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value_range": 0.0}, "value range"),
        ({"value_range": float("nan")}, "value range"),
        ({"value_range": 1e-320}, "no step"),
        ({"length": 0}, "out of range"),
        ({"length": 2**30}, "too long"),
        ({"attempt": -1}, "out of range"),
        ({"quorum": 4}, "quorum of 4"),
    ],
)
def test_terms_that_cannot_work_are_refused(consortium: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AggregationError, match=message):
        consortium(3).terms(**changes).session(("a", "b", "c"))


def test_two_masks_cancel() -> None:
    vector = np.arange(PIECE + 5, dtype="<u4")
    apply_masks([Mask(b"k" * 32, 1), Mask(b"j" * 32, -1)], vector)
    assert (vector != np.arange(PIECE + 5)).mean() > 0.999
    apply_masks([Mask(b"j" * 32, 1), Mask(b"k" * 32, -1)], vector)
    assert (vector == np.arange(PIECE + 5)).all()


def byte_p_value(data: bytes) -> float:
    """Pearson's chi-square of the 256 byte values against uniform, 255 degrees of freedom."""
    counts = np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256)
    return float(stats.chisquare(counts).pvalue)


def test_masked_vectors_are_indistinguishable_from_uniform(consortium: Any) -> None:
    """Chi-square on the bytes of each masked vector of an all-zero update: p above 1e-6 for every site (an honest
    run fails with probability below 1e-5), while the same vectors unmasked are rejected outright."""
    from medquorum.privacy import wire
    from medquorum.privacy.secure_aggregation.steps import Masked

    group = consortium(4, length=100_000)
    group.vectors = {name: np.zeros(100_000) for name in group.names}
    seen = group.run(group.coordinator(), group.sites())
    masked = {name: wire.decode(Masked, answers[2]).vector for name, answers in seen.items()}
    for vector in masked.values():
        assert byte_p_value(vector) > 1e-6
    # Nor do two sites' vectors together show anything before all masks are there.
    words = {name: np.frombuffer(vector, dtype="<u4") for name, vector in masked.items()}
    assert byte_p_value((words["a"] + words["b"]).tobytes()) > 1e-6
    assert byte_p_value((words["a"] + words["b"] + words["c"] + words["d"]).tobytes()) > 1e-6
    assert byte_p_value(ring.mask_vector(np.zeros(100_000), 1.0, 1e-6, [], bytes(32)).tobytes()) < 1e-12


def test_an_upload_is_four_bytes_a_parameter(consortium: Any) -> None:
    group = consortium(10, length=50_000)
    seen = group.run(group.coordinator(), group.sites())
    for answers in seen.values():
        assert sum(map(len, answers.values())) <= 1.1 * 4 * 50_000
