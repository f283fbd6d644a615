"""Mode "distributed": its trajectory beside pooled clipped SGD, what it refuses, what it costs."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from medquorum.privacy import distributed, dpsgd
from medquorum.privacy.accounting import epsilon, plan_epsilon
from medquorum.privacy.aggregation import Opened
from medquorum.privacy.clipping import MARGIN, ClippedSum
from medquorum.privacy.distributed import beside_local, collusions, contribution
from medquorum.privacy.errors import UnaccountableError
from medquorum.privacy.evaluation import copy_shares
from medquorum.privacy.events import plan_evaluation_events
from medquorum.privacy.lattice import DIMENSIONS, lattice, limit
from medquorum.privacy.plan import EvaluationTerms, Gate, Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.privacy.randomness import SeededRandomness
from medquorum.task import Finding, Task

LENGTH = 40_000
NAMES = ("a", "b", "c", "d", "e")
TRAINING = TrainingTerms("fedavg", 1, 0.5, 0.0, 0.0, (1.0,), 0.0, False, 1.0, 0.9, 0.99, 1e-3)
PLAN = Plan(
    consortium="c",
    name="p",
    task=Task((Finding("nodule", "SCT", "27925004", "Nodule"),), "DX"),
    release=bytes(32),
    sites=tuple(PlanSite(name, 40 + 10 * i) for i, name in enumerate(NAMES)),
    quorum=4,
    rounds=10,
    training=TRAINING,
    privacy=PrivacyTerms("distributed", 8.0, 1e-4, 0.5, 3.0, 100.0, 1.0, "mean", colluding=1),
    evaluation=None,
    seed=1,
)
UNIT = lattice(PLAN, LENGTH)


def test_a_larger_clip_than_the_lattices_is_refused() -> None:
    with pytest.raises(UnaccountableError, match="does not fit"):
        contribution(ClippedSum((np.zeros(LENGTH),), 0.6, 1), 1.0, UNIT, SeededRandomness(1))


# Training


def problem(seed: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor, np.ndarray]:
    """A small network in float64; rows, labels and the patient of each row for one site."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    draw = np.random.default_rng(seed)
    patients = np.repeat(np.arange(12), draw.integers(1, 4, 12))
    rows = torch.from_numpy(draw.standard_normal((patients.size, 6)))
    return module, rows, (rows[:, :1] > 0).double(), patients


def pooled_step(module: nn.Module, batch: list[tuple[torch.Tensor, torch.Tensor]], clip: float) -> np.ndarray:
    """The sum of the patients' clipped gradients, one patient and one backward pass at a time."""
    total = 0.0
    for rows, labels in batch:
        module.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(module(rows), labels).backward()
        gradient = torch.cat([parameter.grad.reshape(-1) for _, parameter in sorted(module.named_parameters())])
        total = total + gradient * min(1.0, clip * (1 - MARGIN) / float(gradient.norm()))
    return total.numpy() if batch else 0.0


def put(module: nn.Module, vector: np.ndarray) -> None:
    place = 0
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters()):
            parameter.copy_(torch.from_numpy(vector[place : place + parameter.numel()]).reshape(parameter.shape))
            place += parameter.numel()


@pytest.mark.parametrize("rate", [1.0, 0.4])
def test_without_noise_and_rounding_the_trajectory_is_pooled_clipped_sgd(
    rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sites' sums, the plain sum, the coordinator's division and momentum, against one loop over all patients."""
    from medquorum.server.strategy import mean_update, strategy_for

    training = dataclasses.replace(TRAINING, server_momentum=0.9, learning_rate=2.0)
    terms = dataclasses.replace(PLAN.privacy, sampling_rate=rate, clip=0.2)
    plan = dataclasses.replace(PLAN, privacy=terms, training=training)
    monkeypatch.setattr(distributed, "integer_gaussian", lambda size, scale, source: np.zeros(size))
    monkeypatch.setattr(distributed, "rounded", lambda values, limit, step, source: values / step)
    strategy = strategy_for(training)
    problems = {name: problem(seed) for seed, name in enumerate(NAMES)}
    module = problems["a"][0]
    start = np.concatenate([p.detach().numpy().reshape(-1) for _, p in sorted(module.named_parameters())])
    ours, pooled, velocity = start.copy(), start.copy(), 0.0
    drawn = 0
    for number in range(6):
        vectors = {}
        batch: list[tuple[torch.Tensor, torch.Tensor]] = []
        for name, (_, rows, labels, patients) in problems.items():
            put(module, ours)

            def losses(index: torch.Tensor, rows: torch.Tensor = rows, labels: torch.Tensor = labels) -> torch.Tensor:
                return nn.functional.binary_cross_entropy_with_logits(
                    module(rows[index]), labels[index], reduction="none"
                ).squeeze(1)

            total = dpsgd.clipped_sum(
                module, losses, patients, plan.nominal(name), terms, training.recipe, SeededRandomness(3, name, number)
            )
            vectors[name] = contribution(
                total, limit(plan, name), lattice(plan, start.size), SeededRandomness(4, name, number)
            )
            sampled = dpsgd.sample_patients(12, rate, SeededRandomness(3, name, number))
            batch += [(rows[patients == patient], labels[patients == patient]) for patient in sampled]
        drawn += len(batch)
        opened = Opened(np.sum([vectors[name] for name in NAMES], axis=0), NAMES)
        ours = strategy.step(ours, mean_update(plan, opened, number + 1))
        put(module, pooled)
        velocity = 0.9 * velocity + pooled_step(module, batch, terms.clip) / (
            rate * sum(s.patients for s in plan.sites)
        )
        pooled = pooled - training.learning_rate * velocity
    assert drawn == (360 if rate == 1.0 else pytest.approx(144, abs=40))
    assert np.abs(pooled - start).max() > 0.01
    assert np.abs(ours - pooled).max() < 1e-9


def test_a_site_takes_no_steps_by_itself_in_this_mode() -> None:
    module, rows, _, patients = problem(1)
    with pytest.raises(UnaccountableError, match="no steps by itself"):
        dpsgd.train(module, lambda index: rows[index].sum(1), patients, 50, PLAN.privacy, TRAINING, SeededRandomness(1))


# What it costs


def test_the_first_line_of_the_collusions_is_the_guarantee_and_the_others_only_grow() -> None:
    lines = collusions(PLAN)
    assert [line.colluding for line in lines] == [1, 2, 3]
    assert lines[0].epsilon == plan_epsilon(PLAN) and not lines[0].alone
    assert lines[0].epsilon < lines[1].epsilon <= lines[2].epsilon
    # Five sites of whom four open a sum: two colluders stay short of two lists, three do not.
    assert [line.alone for line in lines] == [False, False, True]
    assert (
        collusions(dataclasses.replace(PLAN, privacy=dataclasses.replace(PLAN.privacy, mode="local", colluding=0)))
        == ()
    )


def test_collusions_count_what_evaluation_tells_about_patients_held_out() -> None:
    """Shared evaluations lose noise to colluders like training does; a site's own copy for the gate does not."""
    sites = tuple(dataclasses.replace(site, held_out=20) for site in PLAN.sites)
    terms = EvaluationTerms(bins=10, every=1, noise_multiplier=3.0, minimum_patients=1, gate=None)
    both = dataclasses.replace(PLAN, sites=sites, evaluation=terms)
    assert len(plan_evaluation_events(both)) == 1
    assert both.privacy.noise_multiplier == terms.noise_multiplier and plan_evaluation_events(both)[0].steps > 10
    assert all(more.epsilon > less.epsilon for more, less in zip(collusions(both), collusions(PLAN), strict=True))
    gate = Gate(max_fall=0.1, tolerated=0)
    gated = dataclasses.replace(both, evaluation=dataclasses.replace(terms, gate=gate))
    copied = [event for event in plan_evaluation_events(gated) if event.shares == copy_shares(gated)]
    assert copied and collusions(gated)[-1].epsilon < collusions(both)[-1].epsilon + epsilon(copied, 1e-4)


def test_at_equal_epsilon_the_mean_over_n_sites_carries_the_nth_part_of_local_noise() -> None:
    """The reason for the mode: local noise of n sites adds up, shared noise is drawn once."""
    from medquorum.privacy.calibration import calibrated_terms

    deviations = {}
    for mode in ("local", "distributed"):
        terms = calibrated_terms(
            epsilon=3.0,
            delta=1e-4,
            clip=0.5,
            sampling_rate=1.0,
            steps=10,
            max_noise_multiplier=100.0,
            mode=mode,
            patients=80,
            quorum=5,
        )
        deviations[mode] = terms.noise_multiplier * (math.sqrt(5) if mode == "local" else 1.0)
    assert deviations["local"] / deviations["distributed"] == pytest.approx(math.sqrt(5), rel=1e-4)
    unit = lattice(dataclasses.replace(PLAN, quorum=5), DIMENSIONS)
    assert unit.sensitivity < 1.01 * PLAN.privacy.clip


def test_the_table_beside_local_mode() -> None:
    """At the noise of epsilon 3 for all together, a site alone would pay nearly four times as much."""
    one = {"noise": 6.219, "sampling_rate": 1.0, "steps": 20, "delta": 1e-5}
    table = [beside_local(n, q, c, **one) for n, q, c in ((1, 1, 0), (3, 3, 0), (3, 3, 1), (10, 7, 3), (10, 10, 0))]
    assert table[0].distributed == pytest.approx(table[0].local, rel=1e-4)
    assert table[-1].distributed == pytest.approx(3.0, rel=1e-3)
    for row in table[1:]:
        assert row.distributed < row.local
    # Dropouts and colluders are paid for: only what is sure to be left counts.
    assert table[3].distributed > table[4].distributed and table[2].distributed > table[1].distributed
    assert table[3].local == table[4].local > 3.9 * table[4].distributed
    # A share that stands alone is local mode.
    assert beside_local(3, 3, 2, **one).distributed == pytest.approx(beside_local(3, 3, 2, **one).local, rel=1e-4)
    with pytest.raises(UnaccountableError, match="leave no noise"):
        beside_local(3, 3, 3, **one)
