"""Accepting unseen: the bound is exact, and its threshold keeps the promise that an empirical one breaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from medquorum.models.acceptance import accept_unseen, cases_needed, lower_bound
from medquorum.models.errors import ModelError


@pytest.mark.parametrize(("right", "of"), [(59, 59), (95, 100), (1, 3), (298, 300)])
def test_the_bound_is_clopper_and_pearsons(right: int, of: int) -> None:
    assert lower_bound(right, of, 0.05) == pytest.approx(binomtest(right, of).proportion_ci(0.90, "exact").low, 1e-9)


def test_published_sample_sizes() -> None:
    # Wilks' 59 of 95 %/95 % and 93 with one failure; 149 for 98 %.
    assert cases_needed(0.95, 0.05) == 59
    assert cases_needed(0.95, 0.05, wrong=1) == 93
    assert cases_needed(0.98, 0.05) == 149


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.001, 0.3))
def test_the_bound_is_below_what_was_seen_and_rises_with_it(right: int, of: int, alpha: float) -> None:
    right = min(right, of)
    bound = lower_bound(right, of, alpha)
    assert 0.0 <= bound <= right / of
    if right < of:
        assert lower_bound(right + 1, of, alpha) > bound


def _world(generator: np.random.Generator, patients: int):
    """Patients of one to four like images: scores, whether the proposal is right, whose."""
    sizes = generator.integers(1, 5, patients)
    whose = np.repeat(np.arange(patients), sizes)
    ease = np.repeat(generator.normal(0.0, 1.0, patients), sizes) + generator.normal(0.0, 0.4, len(whose))
    scores = 1.0 / (1.0 + np.exp(-ease - 2.0))
    return scores, generator.random(len(whose)) < _chance(scores), whose


def _chance(scores):
    return 0.82 + 0.175 * scores**2


def _true_precision(threshold: float) -> float:
    """Of a random image above the threshold of a random patient with one, by a large sample."""
    scores, _, whose = TRUTH
    reaching = scores >= threshold
    patients = whose[reaching]
    sizes = np.bincount(patients, minlength=whose.max() + 1)
    means = np.bincount(patients, weights=_chance(scores[reaching]), minlength=whose.max() + 1)[sizes > 0]
    return float((means / sizes[sizes > 0]).mean())


TRUTH = _world(np.random.default_rng(1), 20_000)


def _empirical(scores, right, target: float) -> float | None:
    """What is usually done: the lowest threshold whose precision on the labelled images reaches the target."""
    order = np.argsort(-scores)
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    fits = np.flatnonzero(precision >= target)
    return float(scores[order[fits[-1]]]) if len(fits) else None


def test_the_promise_is_kept_where_an_empirical_threshold_breaks_it() -> None:
    generator, target, trials = np.random.default_rng(7), 0.95, 300
    ours = empirical = accepted = 0
    for trial in range(trials):
        scores, right, whose = _world(generator, 300)
        waiting, _, _ = _world(generator, 400)
        found = accept_unseen(scores, right, whose, waiting, target, seed=trial)
        if found.threshold is not None:
            accepted += 1
            ours += _true_precision(found.threshold) < target
        naive = _empirical(scores, right, target)
        empirical += naive is not None and _true_precision(naive) < target
    assert ours / trials <= 0.08  # 5 %, and what 300 trials may stray
    assert empirical / trials > 0.25
    assert accepted / trials > 0.12  # and not by refusing everything


def test_a_certain_model_is_accepted_whole_and_a_poor_one_not_at_all() -> None:
    scores = np.linspace(0.5, 1.0, 400)
    whole = accept_unseen(scores, np.ones(400, bool), np.arange(400), scores, 0.98)
    assert (whole.share, whole.right, whole.of) == (1.0, 400, 400)
    assert whole.bound >= 0.98
    none = accept_unseen(scores, np.arange(400) % 5 > 0, np.arange(400), scores, 0.95)
    assert none.threshold is None
    assert none.share == 0.0


def test_too_few_hidden_patients_accept_nothing_however_many_images_they_have() -> None:
    scores, whose = np.full(1000, 0.9), np.repeat(np.arange(20), 50)
    found = accept_unseen(scores, np.ones(1000, bool), whose, scores, 0.95)
    assert found.threshold is None
    assert (found.patients, found.needed) == (20, 59)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 400), st.sampled_from([0.9, 0.95, 0.98]))
def test_whatever_comes_out_meets_its_own_bound(seed: int, patients: int, target: float) -> None:
    generator = np.random.default_rng(seed)
    scores, right, whose = _world(generator, patients)
    waiting = generator.random(50)
    found = accept_unseen(scores, right, whose, waiting, target, seed=seed)
    if found.threshold is None:
        assert (found.share, found.bound, found.of) == (0.0, 0.0, 0)
        return
    assert found.bound >= target
    assert lower_bound(found.right, found.of, 0.05) >= found.bound  # divided alpha can only be more careful
    assert found.share == pytest.approx((waiting >= found.threshold).mean())


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="one for each image"):
        accept_unseen([0.5], [True, False], [1, 2], [0.5], 0.95)
    with pytest.raises(ModelError, match="not finite"):
        accept_unseen([np.nan], [True], [1], [0.5], 0.95)
    with pytest.raises(ModelError, match=r"0\.95"):
        cases_needed(1.0, 0.05)
