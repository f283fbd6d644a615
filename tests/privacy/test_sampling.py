"""Poisson sampling over patients, against the binomial law that the accountant assumes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medquorum.privacy.errors import UnaccountableError
from medquorum.privacy.randomness import SeededRandomness
from medquorum.privacy.sampling import sample_images, sample_patients


class NoRandomness:
    """A source that must not be asked."""

    reproducible = True

    def take(self, count: int) -> bytes:
        raise AssertionError(f"{count} bytes were drawn")


class AllBitsSet:
    """The largest word every time: the patient that a rate just below 1 leaves out."""

    reproducible = True

    def take(self, count: int) -> bytes:
        return b"\xff" * count


def test_a_full_batch_is_every_patient_and_draws_nothing() -> None:
    assert np.array_equal(sample_patients(5, 1.0, NoRandomness()), np.arange(5))


def test_a_rate_below_one_can_leave_anybody_out() -> None:
    assert sample_patients(3, np.nextafter(1.0, 0.0), AllBitsSet()).size == 0


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_batch_sizes_are_binomial(rate: float) -> None:
    source = SeededRandomness(21)
    count, draws = 20, 4000
    sizes = np.array([sample_patients(count, rate, source).size for _ in range(draws)])
    expected = stats.binom.pmf(np.arange(count + 1), count, rate) * draws
    common = expected > 5.0
    seen = np.array([np.sum(sizes == k) for k in range(count + 1)])
    observed = np.append(seen[common], seen[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    assert stats.chisquare(observed, wanted * (observed.sum() / wanted.sum())).pvalue > 1e-3


def test_each_patient_is_drawn_at_the_rate_independently_of_the_others() -> None:
    source = SeededRandomness(22)
    draws = np.zeros((6000, 4))
    for row in draws:
        row[sample_patients(4, 0.4, source)] = 1.0
    assert np.all(np.abs(draws.mean(axis=0) - 0.4) < 5 * np.sqrt(0.24 / 6000))
    correlations = np.corrcoef(draws.T)[np.triu_indices(4, 1)]
    assert np.all(np.abs(correlations) < 5 / np.sqrt(6000))


def test_empty_samples_and_empty_sites_are_ordinary() -> None:
    assert sample_patients(0, 0.5, SeededRandomness(1)).shape == (0,)
    assert sample_patients(0, 1.0, SeededRandomness(1)).shape == (0,)
    source = SeededRandomness(23)
    assert any(sample_patients(3, 0.1, source).size == 0 for _ in range(20))


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(UnaccountableError, match="sampling rate"):
        sample_patients(3, rate, SeededRandomness(1))


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(UnaccountableError):
        sample_patients(-1, 0.5, SeededRandomness(1))


def test_one_image_of_each_patient_is_drawn_uniformly() -> None:
    drawn = sample_images(np.tile([1, 3, 4], 5000), SeededRandomness(24)).reshape(-1, 3)
    assert np.all(drawn[:, 0] == 0)
    for column, images in ((1, 3), (2, 4)):
        assert stats.chisquare(np.bincount(drawn[:, column], minlength=images)).pvalue > 1e-3
