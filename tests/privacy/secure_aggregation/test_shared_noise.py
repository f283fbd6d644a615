"""Shared noise as it is opened: through the real masked sum, with and without dropouts, against the analysis.

The check that the opened noise passes is shown to fail when the shares are halved.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from medquorum.privacy import distributed, noise
from medquorum.privacy.aggregation import Opened, PlainCoordinator, PlainSite
from medquorum.privacy.clipping import ClippedSum
from medquorum.privacy.distributed import contribution, mean_gradient
from medquorum.privacy.errors import AggregationError
from medquorum.privacy.lattice import lattice, limit
from medquorum.privacy.plan import Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.privacy.randomness import SeededRandomness
from medquorum.privacy.ranges import value_range, whole_numbers
from medquorum.task import Finding, Task

LENGTH = 40_000
NAMES = ("a", "b", "c", "d", "e")
PATIENTS = 150
PLAN = Plan(
    consortium="c",
    name="p",
    task=Task((Finding("nodule", "SCT", "27925004", "Nodule"),), "DX"),
    release=bytes(32),
    # As the consortium of conftest.py declares them.
    sites=tuple(PlanSite(name, 10 * (i + 1)) for i, name in enumerate(NAMES)),
    quorum=4,
    rounds=10,
    training=TrainingTerms("fedavg", 1, 0.5, 0.0, 0.0, (1.0,), 0.0, False, 1.0, 0.9, 0.99, 1e-3),
    privacy=PrivacyTerms("distributed", 8.0, 1e-4, 0.5, 3.0, 100.0, 1.0, "mean", colluding=1),
    evaluation=None,
    seed=1,
)
UNIT = lattice(PLAN, LENGTH)


@pytest.fixture(scope="module")
def group(consortium: Any) -> Any:
    return consortium(5, LENGTH, PLAN.quorum)


def contributions(values: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """`values` from every site, each under its own share of the noise."""
    return {
        name: contribution(
            ClippedSum((values,), PLAN.privacy.clip, 1), limit(PLAN, name), UNIT, SeededRandomness(seed, name)
        )
        for name in NAMES
    }


def open_sum(group: Any, vectors: dict[str, np.ndarray], killed: dict[str, int] | None = None) -> Opened:
    """Open one sum; killed[site] = k: it answers k steps and is never seen again."""
    group.vectors = vectors
    changes = {"whole": whole_numbers(PLAN, "update"), "value_range": value_range(PLAN, "update")}
    coordinator = group.coordinator(**changes)
    group.run(coordinator, group.sites(**changes), killed)
    assert coordinator.opened is not None and coordinator.saturated == 0
    return coordinator.opened


def require_accounted_noise(opened: np.ndarray, survivors: int) -> None:
    """The opened noise, in steps, is what the analysis says of the sum of `survivors` shares, and enough."""
    deviation = UNIT.share * math.sqrt(survivors)
    draws = opened / deviation
    assert np.array_equal(opened, np.rint(opened))
    assert abs(draws.std() - 1.0) < 5 / math.sqrt(2 * draws.size), "the variance is not the accounted one"
    assert abs(draws.mean()) < 5 / math.sqrt(draws.size)
    assert stats.kstest(draws, "norm").pvalue > 1e-3, "the distribution is not the accounted one"
    assert stats.chisquare(np.histogram(stats.norm.cdf(draws), 50, (0, 1))[0]).pvalue > 1e-3
    assert stats.chisquare(np.bincount(opened.astype(np.int64) % 32, minlength=32)).pvalue > 1e-3
    # What the ledger was charged for: the quorum's shares without the colluders'.
    counted = PLAN.privacy.noise_multiplier * UNIT.sensitivity / UNIT.step
    left = PLAN.quorum - PLAN.privacy.colluding
    assert draws.std() * deviation > 0.98 * counted * math.sqrt(survivors / left)


def test_the_opened_noise_is_the_accounted_one_when_all_stay(group: Any) -> None:
    opened = open_sum(group, contributions(np.zeros(LENGTH), 1))
    assert opened.survivors == NAMES
    require_accounted_noise(opened.total, 5)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_opened_noise_is_enough_when_a_site_drops_out(group: Any, steps: int) -> None:
    opened = open_sum(group, contributions(np.zeros(LENGTH), 1 + steps), {"c": steps})
    # A site whose masked vector arrived counts, even if it vanishes right after.
    survivors = 5 if steps == 3 else 4
    assert len(opened.survivors) == survivors
    require_accounted_noise(opened.total, survivors)


def test_halved_shares_are_noticed(group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation that the two tests above must catch."""
    monkeypatch.setattr(
        distributed, "integer_gaussian", lambda size, scale, source: noise.integer_gaussian(size, scale / 2, source)
    )
    opened = open_sum(group, contributions(np.zeros(LENGTH), 1))
    with pytest.raises(AssertionError, match="variance"):
        require_accounted_noise(opened.total, 5)


def test_the_masked_sum_is_the_plain_one_to_the_last_bit_and_carries_the_signal(group: Any) -> None:
    values = np.linspace(-4.0, 4.0, LENGTH) / math.sqrt(LENGTH)
    vectors = contributions(values, 6)
    opened = open_sum(group, vectors)
    plain = PlainCoordinator(NAMES, PLAN.quorum, LENGTH)
    plain.receive({name: PlainSite().answer(b"", lambda name=name: vectors[name]) for name in NAMES})
    assert plain.opened is not None
    assert np.array_equal(plain.opened.total, opened.total)
    gradient = mean_gradient(PLAN, opened.total, opened.survivors, 1)
    spread = UNIT.share * math.sqrt(5) * UNIT.step / PATIENTS
    assert stats.kstest((gradient - values * 5 / PATIENTS) / spread, "norm").pvalue > 1e-3


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_extreme_sums_do_not_wrap_round(group: Any, sign: float) -> None:
    """Every site with all its patients' weight on the same value, on either side."""
    values = np.zeros(LENGTH)
    values[7] = sign * 1e9
    opened = open_sum(group, contributions(values, 8))
    largest = sum(limit(PLAN, name) for name in NAMES) / UNIT.step
    assert largest > 2.0**30
    assert abs(sign * opened.total[7] - largest) < 10 * UNIT.share * math.sqrt(5)


@pytest.mark.parametrize("wrong", [0.5, math.nan, math.inf])
def test_a_contribution_that_is_not_whole_is_not_masked(group: Any, wrong: float) -> None:
    with pytest.raises(AggregationError, match="whole numbers"):
        open_sum(group, dict.fromkeys(NAMES, np.full(LENGTH, wrong)))
