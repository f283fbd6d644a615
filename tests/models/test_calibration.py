"""Temperature scaling recovers a known temperature; the reliability table adds up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.models.calibration import expected_calibration_error, fit_temperature, probabilities, reliability
from medquorum.models.errors import ModelError


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    source = np.random.default_rng(5)
    true_logits = source.normal(scale=2.0, size=40_000)
    labels = source.random(40_000) < probabilities(true_logits, 1.0)
    fitted = fit_temperature(true_logits * temperature, labels)
    assert fitted == pytest.approx(temperature, rel=0.05)


def test_calibration_lowers_the_error_of_overconfident_logits() -> None:
    source = np.random.default_rng(6)
    true_logits = source.normal(size=5_000)
    labels = source.random(5_000) < probabilities(true_logits, 1.0)
    overconfident = true_logits * 5.0
    before = expected_calibration_error(probabilities(overconfident, 1.0), labels)
    after = expected_calibration_error(probabilities(overconfident, fit_temperature(overconfident, labels)), labels)
    assert before > 0.15
    assert after < 0.03


def test_few_separated_cases_do_not_claim_certainty() -> None:
    temperature = fit_temperature([-1.0, -1.0, 1.0, 1.0], [0, 0, 1, 1])
    assert probabilities(1.0, temperature) == pytest.approx(0.75, abs=1e-6)


def test_with_one_class_or_none_there_is_nothing_to_fit() -> None:
    assert fit_temperature([1.0, 2.0], [1, 1]) == 1.0
    assert fit_temperature([], []) == 1.0


def test_useless_or_reversed_logits_get_the_largest_temperature() -> None:
    assert fit_temperature([2.0, 1.0, -1.0, -2.0], [0, 0, 1, 1]) == 20.0


def test_extreme_logits_do_not_overflow() -> None:
    with np.errstate(all="raise"):
        assert probabilities([1e6, -1e6], 0.05).tolist() == [1.0, 0.0]


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_reliability_keeps_every_case(rows: list[tuple[float, bool]], bins: int) -> None:
    p, y = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], dtype=float)
    table = reliability(p, y, bins)
    assert sum(count for *_, count in table) == len(rows)
    assert sum(stated * count for stated, _, count in table) == pytest.approx(p.sum(), abs=1e-9)
    assert sum(observed * count for _, observed, count in table) == pytest.approx(y.sum(), abs=1e-9)
    error = expected_calibration_error(p, y, bins)
    assert abs(p.mean() - y.mean()) - 1e-9 <= error <= 1.0


def test_the_error_of_nothing_is_zero_and_lengths_must_agree() -> None:
    assert expected_calibration_error([], []) == 0.0
    with pytest.raises(ModelError, match="2 values for 1 labels"):
        fit_temperature([1.0, 2.0], [1])
