"""Metrics against brute force and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.models.errors import ModelError
from medquorum.models.metrics import auroc, bootstrap_by_patient, dice, pointing_hit

cases = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=0, max_size=40)


def by_pairs(scores: list[float], labels: list[bool]) -> float | None:
    pairs = [
        (p, n) for p, a in zip(scores, labels, strict=True) if a for n, b in zip(scores, labels, strict=True) if not b
    ]
    if not pairs:
        return None
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


@given(cases)
def test_auroc_is_the_share_of_ordered_pairs_with_ties_as_halves(rows: list[tuple[int, bool]]) -> None:
    scores, labels = [float(s) for s, _ in rows], [y for _, y in rows]
    expected = by_pairs(scores, labels)
    found = auroc(scores, labels)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found == pytest.approx(expected, abs=1e-12)


def test_dice_and_pointing_by_hand() -> None:
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert dice(a, b) == 1.0
    a[0, :2], b[0, 1:4] = True, True
    assert dice(a, b) == pytest.approx(2 / 5)
    heat = np.zeros((4, 4))
    heat[0, 3] = 1.0
    assert pointing_hit(heat, b)
    assert not pointing_hit(heat, a)


def test_arrays_that_do_not_fit_are_named() -> None:
    with pytest.raises(ModelError, match="2 scores for 1 labels"):
        auroc([0.1, 0.2], [1])
    with pytest.raises(ModelError, match="masks of"):
        dice(np.zeros((2, 2)), np.zeros((3, 2)))
    with pytest.raises(ModelError, match="restore the map"):
        pointing_hit(np.zeros((2, 2)), np.zeros((3, 2)))


def test_bootstrap_draws_patients_not_rows() -> None:
    # Each patient's 50 rows are copies: the interval of the mean must be that of 10 values, not of 500.
    source = np.random.default_rng(0)
    values = source.normal(size=10)
    patients = np.repeat(np.arange(10), 50)
    found = bootstrap_by_patient(lambda x: float(x.mean()), patients, np.repeat(values, 50), seed=1, draws=2000)
    assert found is not None
    value, low, high = found
    assert value == pytest.approx(values.mean())
    by_patient = values.std() / np.sqrt(10)
    assert high - low == pytest.approx(2 * 1.96 * by_patient, rel=0.15)


def test_bootstrap_is_reproducible_and_none_where_the_metric_is() -> None:
    scores, labels = np.array([0.1, 0.9, 0.4, 0.6]), np.array([0, 1, 0, 1])
    patients = np.array(["a", "b", "c", "d"])
    assert bootstrap_by_patient(auroc, patients, scores, labels, seed=3) == bootstrap_by_patient(
        auroc, patients, scores, labels, seed=3
    )
    assert bootstrap_by_patient(auroc, patients, scores, np.zeros(4), seed=3) is None
    # One positive among four patients: a third of the draws miss it. Among one patient of each class, half do.
    assert bootstrap_by_patient(auroc, patients, scores, np.array([0, 1, 0, 0]), seed=3) is not None
