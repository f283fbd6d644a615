"""The mechanism, seen from outside: thousands of draws of one real step on neighbouring patient sets.

The loss is linear in the only parameter, so every step of one long training is an independent draw of the same
mechanism: what comes out is (clipped sum + noise) / nominal, whatever came before. The claim is tested as an attacker
would meet it: by how many standard deviations does one patient shift the output?
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from medquorum.privacy.accounting import gaussian_epsilon
from medquorum.privacy.dpsgd import train
from medquorum.privacy.plan import PrivacyTerms, TrainingTerms
from medquorum.privacy.randomness import SeededRandomness

DRAWS = 2000
NOMINAL = 5
TERMS = PrivacyTerms(
    mode="local",
    epsilon=8.0,
    delta=1e-3,
    clip=0.2,
    noise_multiplier=1.5,
    max_noise_multiplier=10.0,
    sampling_rate=1.0,
    patient_images="mean",
)
TRAINING = TrainingTerms(
    strategy="fedavg",
    local_steps=DRAWS + 1,
    learning_rate=1.0,
    momentum=0.0,
    proximal=0.0,
    finding_weights=(1.0,),
    region_weight=0.0,
    augmentation=False,
    server_learning_rate=1.0,
    server_beta1=0.9,
    server_beta2=0.99,
    server_tau=1e-3,
)


def outputs(patients: list[int], slopes: list[float], terms: PrivacyTerms, seed: int) -> np.ndarray:
    """What each of DRAWS steps took off the parameter, when image i's gradient is slopes[i]."""
    module = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    inputs = torch.tensor(slopes, dtype=torch.float64).reshape(-1, 1)
    positions: list[float] = []

    def losses(rows: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            positions.append(float(module.weight.detach()))
        return module(inputs[rows]).squeeze(1)

    train(module, losses, np.array(patients), NOMINAL, terms, TRAINING, SeededRandomness(seed))
    return -np.diff(np.array(positions))


@pytest.fixture(scope="module")
def neighbours() -> tuple[np.ndarray, np.ndarray]:
    """Draws with and without patient 2, whose three images pull a thousand times harder than the clip allows."""
    with_patient = outputs([0, 1, 2, 2, 2], [0.05, -0.1, 300.0, 200.0, 100.0], TERMS, 41)
    without = outputs([0, 1], [0.05, -0.1], TERMS, 42)
    return with_patient, without


def test_the_noise_is_as_large_as_claimed(neighbours: tuple[np.ndarray, np.ndarray]) -> None:
    """Fails when the noise is halved, or off by more than a few per cent in either direction."""
    claimed = TERMS.noise_multiplier * TERMS.clip / NOMINAL
    for draws in neighbours:
        assert draws.size == DRAWS
        assert abs(draws.std() / claimed - 1.0) < 0.07
        assert stats.kstest((draws - draws.mean()) / claimed, "norm").pvalue > 1e-3


def test_one_patient_shifts_the_output_by_at_most_the_clip(neighbours: tuple[np.ndarray, np.ndarray]) -> None:
    """Fails when the clip is dropped, or taken of images instead of patients."""
    shift = NOMINAL * (neighbours[0].mean() - neighbours[1].mean())
    error = TERMS.noise_multiplier * TERMS.clip * math.sqrt(2 / DRAWS)
    assert abs(shift - TERMS.clip) < 4 * error
    assert NOMINAL * neighbours[1].mean() == pytest.approx(0.05 - 0.1, abs=4 * error)


def test_an_attackers_epsilon_is_the_accountants(neighbours: tuple[np.ndarray, np.ndarray]) -> None:
    """The best test of one output knows epsilon from the shift over the deviation; it must not beat the claim."""
    deviation = math.sqrt((neighbours[0].var() + neighbours[1].var()) / 2)
    seen = gaussian_epsilon(float(neighbours[0].mean() - neighbours[1].mean()) / deviation, TERMS.delta)
    claimed = gaussian_epsilon(1.0 / TERMS.noise_multiplier, TERMS.delta)
    assert 0.8 * claimed < seen < 1.12 * claimed


def test_a_sampled_patient_shows_as_rarely_as_the_rate_says() -> None:
    """Fails when images are sampled instead of patients: the one with many images would show far more often."""
    rate = 0.2
    terms = dataclasses.replace(TERMS, sampling_rate=rate, noise_multiplier=0.02)
    # A second patient with a fixed, opposite pull is in the same draws; the sum's four levels tell who was in.
    draws = outputs([0, 0, 0, 0, 1], [9.0, 9.0, 9.0, 9.0, -0.05], terms, 43) * NOMINAL * rate
    # A step with nobody leaves no record of its own and its noise falls to the step before: noise is small, so
    # recorded steps still read as "patient 0 in" (about the clip) or "only patient 1" (about -0.05).
    entered = np.mean(draws > TERMS.clip / 2)
    recorded = 1.0 - (1.0 - rate) ** 2
    expected = rate / recorded
    assert abs(entered - expected) < 5 * math.sqrt(expected * (1 - expected) / draws.size)
