"""Figures from noised histograms: right on average, with intervals that hold what they say, modest without proof."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medquorum.models import metrics
from medquorum.models.errors import ModelError
from medquorum.models.histograms import (
    _projected,
    auroc,
    calibration_error,
    noised_auroc,
    reliability,
    temperature,
)

BINS = 20


def drawn(source: np.random.Generator, absent: int, present: int) -> np.ndarray:
    """Histograms (2, BINS) of so many patients from two overlapping classes."""
    scores = source.beta(2, 5, absent), source.beta(4, 3, present)
    return np.stack([np.histogram(one, BINS, (0.0, 1.0))[0] for one in scores]).astype(np.float64)


def exact_auroc(histograms: np.ndarray) -> float | None:
    """From one score for each patient."""
    centres = np.concatenate([np.repeat(np.arange(one.size), one.astype(int)) for one in histograms])
    labels = np.repeat([0.0, 1.0], [int(one.sum()) for one in histograms])
    return metrics.auroc(centres, labels)


@given(counts=arrays(np.float64, (2, 7), elements=st.integers(0, 30).map(float)))
def test_without_noise_it_is_the_exact_auroc(counts: np.ndarray) -> None:
    exact = exact_auroc(counts)
    found = noised_auroc(counts[0], counts[1], 0.0)
    assert (exact is None) == (found is None)
    if exact is not None and found is not None:
        assert found == (pytest.approx(exact), 0.0)


@pytest.mark.parametrize(("absent", "present", "deviation"), [(200, 60, 2.0), (600, 200, 5.0)])
def test_noise_does_not_bend_the_auroc_where_cutting_counts_at_zero_does(
    absent: int, present: int, deviation: float
) -> None:
    source = np.random.default_rng(1)
    counts = drawn(source, absent, present)
    true = exact_auroc(counts)
    noised = [counts + source.normal(0.0, deviation, counts.shape) for _ in range(2000)]
    found = [one for one in (noised_auroc(pair[0], pair[1], deviation) for pair in noised) if one is not None]
    values = np.array([value for value, _ in found])
    cut = np.mean([exact_auroc(np.maximum(np.rint(pair), 0.0)) for pair in noised[:500]])
    assert len(found) > 1950
    assert abs(values.mean() - true) < 0.006
    assert abs(cut - true) > 0.03
    assert np.mean([error for _, error in found]) == pytest.approx(values.std(), rel=0.15)


@pytest.mark.parametrize("deviation", [0.0, 3.0])
def test_intervals_hold_the_truth_about_as_often_as_they_say(deviation: float) -> None:
    source = np.random.default_rng(2)
    whole = drawn(source, 200_000, 200_000)
    true = exact_auroc(whole)
    assert true is not None
    held = 0
    for seed in range(150):
        pair = drawn(source, 300, 100) + source.normal(0.0, 1.0, (2, BINS)) * deviation
        found = auroc(pair, deviation, seed)
        assert found is not None and found.low <= found.value <= found.high
        held += found.low <= true <= found.high
    assert held >= 133  # 142 are expected; below 133 is less than one in a thousand


def test_the_interval_widens_with_the_noise() -> None:
    counts = drawn(np.random.default_rng(3), 300, 100)
    quiet, loud = auroc(counts, 0.5, 1), auroc(counts, 4.0, 1)
    assert quiet is not None and loud is not None
    assert loud.high - loud.low > 1.5 * (quiet.high - quiet.low)
    assert auroc(counts, 0.5, 1) == quiet


def test_what_cannot_be_told_from_noise_is_not_told() -> None:
    counts = drawn(np.random.default_rng(4), 300, 20)
    assert auroc(counts, 3.0, 1) is None  # 20 patients in 20 cells of that noise
    assert auroc(np.stack([counts[0], np.zeros(BINS)]), 0.0, 1) is None
    assert calibration_error(np.zeros((2, BINS)), 1.0, 1) is None
    assert reliability(np.zeros((2, BINS)), 0.0, 1) == ()
    assert temperature(counts, 50.0, 1.25) == 1.25
    with pytest.raises(ModelError, match="same bins"):
        noised_auroc(np.zeros(3), np.zeros(4), 1.0)


def stated_and_true(source: np.random.Generator, patients: int, sharpness: float) -> np.ndarray:
    """Histograms (2, BINS) of probabilities whose logits are `sharpness` times the right ones."""
    logits = source.normal(-0.5, 1.2, patients)
    present = source.random(patients) < 1.0 / (1.0 + np.exp(-logits))
    stated = 1.0 / (1.0 + np.exp(-sharpness * logits))
    return np.stack([np.histogram(stated[present == one], BINS, (0.0, 1.0))[0] for one in (False, True)]).astype(float)


def test_a_temperature_is_found_through_the_noise_and_left_alone_without_proof() -> None:
    source = np.random.default_rng(5)
    sharp = stated_and_true(source, 4000, 3.0)
    fitted = [temperature(sharp + source.normal(0.0, 4.0, sharp.shape), 4.0, 1.0) for _ in range(40)]
    assert np.median(fitted) == pytest.approx(3.0, rel=0.25)
    right = stated_and_true(source, 300, 1.0)
    kept = [temperature(right + source.normal(0.0, 4.0, right.shape), 4.0, 1.0) for _ in range(200)]
    assert np.mean([one == 1.0 for one in kept]) > 0.5
    assert 0.9 < temperature(stated_and_true(source, 200_000, 1.0), 0.0, 1.0) < 1.1


def test_a_calibration_error_is_told_through_the_noise() -> None:
    source = np.random.default_rng(6)
    for sharpness in (1.0, 3.0):
        counts = stated_and_true(source, 4000, sharpness)
        exact = calibration_error(counts, 0.0, 1)
        assert exact is not None
        noised = [calibration_error(counts + source.normal(0.0, 6.0, counts.shape), 6.0, 1) for _ in range(30)]
        values = [one.value for one in noised if one is not None]
        assert np.mean(values) == pytest.approx(exact.value, abs=0.012)
    groups = reliability(counts, 2.0, 1)
    assert len(groups) == 10 and all(one.observed.low <= one.observed.value <= one.observed.high for one in groups)
    assert groups[0].observed.value > groups[0].stated  # overconfident at both ends
    assert groups[-1].observed.value < groups[-1].stated


@given(
    counts=arrays(np.float64, 9, elements=st.floats(-20, 60)),
    total=st.floats(0.01, 300),
    other=arrays(np.float64, 9, elements=st.floats(0.01, 1)),
)
def test_the_projection_is_the_nearest_possible_histogram(counts: np.ndarray, total: float, other: np.ndarray) -> None:
    near = _projected(counts, total)
    assert near.min() >= 0.0 and near.sum() == pytest.approx(total)
    rival = other / other.sum() * total
    assert np.linalg.norm(near - counts) <= np.linalg.norm(rival - counts) + 1e-9
    assert _projected(counts, 0.0).max() == 0.0
