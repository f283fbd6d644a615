"""The running mean of models against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.server.averaging import running_mean


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.floats(0.0, 0.999))
def test_it_is_the_weighted_mean_of_all_models(values: list[float], past: float) -> None:
    mean = None
    for count, value in enumerate(values, 1):
        mean = running_mean(mean, np.array([value]), past, count)
    weights = np.array([past**age for age in range(len(values))][::-1])
    assert mean is not None
    assert mean[0] == pytest.approx(float(weights @ np.array(values) / weights.sum()), rel=1e-6, abs=1e-6)


def test_without_a_past_it_is_the_last_model_itself() -> None:
    assert running_mean(np.array([5.0]), np.array([7.0]), 0.0, 3).tolist() == [7.0]
