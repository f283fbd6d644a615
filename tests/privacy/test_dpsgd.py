"""Training steps: what they descend, what they never depend on, and what is refused."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from medquorum.privacy.dpsgd import rows_at_once, train
from medquorum.privacy.errors import PlanError, UnaccountableError
from medquorum.privacy.plan import PrivacyTerms, TrainingTerms
from medquorum.privacy.randomness import SecureRandomness, SeededRandomness

LOCAL = PrivacyTerms(
    mode="local",
    epsilon=8.0,
    delta=1e-3,
    clip=0.5,
    noise_multiplier=1.0,
    max_noise_multiplier=10.0,
    sampling_rate=1.0,
    patient_images="mean",
)
NONE = dataclasses.replace(LOCAL, mode="none", noise_multiplier=0.0)
TRAINING = TrainingTerms(
    strategy="fedavg",
    local_steps=1,
    learning_rate=0.5,
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
# Without noise to speak of, but through the private path.
QUIET = dataclasses.replace(LOCAL, noise_multiplier=1e-6, clip=100.0)


class Problem:
    """A linear model on two values an image; its mean-square loss has a gradient that is easily written down."""

    def __init__(self, patients: list[int], seed: int = 0) -> None:
        self.patients = np.array(patients, dtype=np.int64)
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(len(patients), 2, generator=generator)
        self.targets = torch.randn(len(patients), generator=generator)
        self.module = nn.Linear(2, 1)
        nn.init.constant_(self.module.weight, 0.3)
        nn.init.constant_(self.module.bias, -0.1)
        self.rows: list[np.ndarray] = []

    def losses(self, rows: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.rows.append(rows.numpy())
        return (self.module(self.inputs[rows]).squeeze(1) - self.targets[rows]).square() / 2

    def vector(self) -> np.ndarray:
        return torch.cat([self.module.bias, self.module.weight.reshape(-1)]).detach().double().numpy()

    def patient_gradients(self) -> np.ndarray:
        """Each patient's gradient (bias, weight), the mean over their images, in float64."""
        x = np.concatenate([np.ones((len(self.patients), 1)), self.inputs.double().numpy()], axis=1)
        residual = x @ self.vector() - self.targets.double().numpy()
        images = residual[:, None] * x
        return np.stack([images[self.patients == p].mean(axis=0) for p in np.unique(self.patients)])

    def train(
        self, terms: PrivacyTerms, nominal: int = 4, training: TrainingTerms = TRAINING, **options: object
    ) -> None:
        source = options.pop("source", SeededRandomness(5))
        train(self.module, self.losses, self.patients, nominal, terms, training, source, **options)  # type: ignore[arg-type]


def test_a_step_descends_the_sum_over_patients_divided_by_the_nominal_count() -> None:
    problem = Problem([7, 7, 3, 9, 7])
    before, gradients = problem.vector(), problem.patient_gradients()
    problem.train(QUIET, nominal=4)
    assert np.allclose(problem.vector(), before - 0.5 * gradients.sum(axis=0) / 4, atol=1e-4)


def test_without_privacy_a_step_descends_the_mean_patient_gradient() -> None:
    problem = Problem([7, 7, 3, 9, 7])
    before, gradients = problem.vector(), problem.patient_gradients()
    problem.train(NONE, nominal=40)
    assert np.allclose(problem.vector(), before - 0.5 * gradients.mean(axis=0), atol=1e-6)


def test_the_clip_is_taken_of_the_patients_mean_gradient() -> None:
    problem = Problem([0, 0, 0, 1])
    before, gradients = problem.vector(), problem.patient_gradients()
    clip = 0.25 * float(np.linalg.norm(gradients, axis=1).min())
    problem.train(dataclasses.replace(QUIET, clip=clip), nominal=2)
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    expected = clip * (1 - 1e-3) * units.sum(axis=0) / 2
    assert np.allclose((before - problem.vector()) / 0.5, expected, rtol=1e-3, atol=1e-5)


def test_the_same_seed_gives_the_same_training_twice_and_another_seed_another() -> None:
    results = []
    for seed in (5, 5, 6):
        problem = Problem([0, 1, 2, 2])
        problem.train(LOCAL, training=dataclasses.replace(TRAINING, local_steps=3), source=SeededRandomness(seed))
        results.append(problem.vector())
    assert np.array_equal(results[0], results[1])
    assert not np.allclose(results[0], results[2])


def test_the_result_does_not_depend_on_how_many_images_are_worked_on_at_once() -> None:
    results = []
    for at_once in (1, 2, 64):
        problem = Problem([0, 1, 2, 2, 2, 0])
        problem.train(LOCAL, images_at_once=at_once)
        results.append(problem.vector())
    assert np.allclose(results[0], results[1], atol=1e-6)
    assert np.allclose(results[0], results[2], atol=1e-6)


@given(st.integers(1, 1 << 24))
def test_more_small_images_than_large_ones_go_through_a_pass_and_never_more_than_a_bound(values: int) -> None:
    rows = rows_at_once(values)
    assert 64 <= rows <= 512
    assert rows == 64 or rows * values <= 64 * 96**2
    assert rows_at_once(32 * 32) == 512 > rows_at_once(64 * 64) > rows_at_once(96 * 96) == 64


def test_momentum_and_fedprox_follow_the_private_gradient() -> None:
    problem = Problem([0, 1])
    training = dataclasses.replace(TRAINING, strategy="fedprox", proximal=0.4, momentum=0.9, local_steps=3)
    position = problem.vector()
    start = position + np.array([0.3, -0.2, 0.1])
    shadow, velocity = copy.deepcopy(problem), np.zeros(3)
    for _ in range(3):
        with torch.no_grad():
            shadow.module.bias.copy_(torch.from_numpy(position[:1]))
            shadow.module.weight.copy_(torch.from_numpy(position[1:]).reshape(1, 2))
        gradient = shadow.patient_gradients().sum(axis=0) / 4 + 0.4 * (position - start)
        velocity = 0.9 * velocity + gradient
        position = position - 0.5 * velocity
    problem.train(QUIET, training=training, start=torch.from_numpy(start).float())
    assert np.allclose(problem.vector(), position, atol=1e-3)


def test_fedprox_pulls_to_where_training_starts_unless_told_otherwise() -> None:
    training = dataclasses.replace(TRAINING, strategy="fedprox", proximal=0.4, local_steps=3)
    problem, other = Problem([0, 1]), Problem([0, 1])
    problem.train(QUIET, training=training)
    other.train(QUIET, training=training, start=torch.from_numpy(other.vector()).float())
    assert np.array_equal(problem.vector(), other.vector())


def test_opacus_can_be_chosen_and_trains_the_same() -> None:
    results: list[np.ndarray] = []
    for engine in ("exact", "opacus"):
        problem = Problem([0, 1, 2, 2])
        problem.train(QUIET, training=dataclasses.replace(TRAINING, local_steps=3), engine=engine)
        results.append(problem.vector())
    assert np.allclose(*results, atol=1e-4)


def test_empty_batches_are_steps_of_noise_alone() -> None:
    """At a rate this low nobody is ever drawn; the steps still happen, and the noise is that of a full batch."""
    problem = Problem([0, 1, 2])
    before = problem.vector()
    terms = dataclasses.replace(LOCAL, sampling_rate=1e-9)
    problem.train(terms, nominal=3, training=dataclasses.replace(TRAINING, local_steps=1, learning_rate=1e-9))
    assert problem.rows == []
    assert 0.01 < np.abs(problem.vector() - before).max() < 10.0


def test_a_site_without_a_patient_gives_noise_alone() -> None:
    problem = Problem([])
    before = problem.vector()
    problem.train(LOCAL, nominal=1)
    assert not np.array_equal(problem.vector(), before)
    problem.train(NONE, nominal=1)


def test_one_patient_with_one_image_is_ordinary() -> None:
    problem = Problem([5])
    before, gradients = problem.vector(), problem.patient_gradients()
    problem.train(QUIET, nominal=1)
    assert np.allclose(problem.vector(), before - 0.5 * gradients[0], atol=1e-3)


def test_patients_not_images_are_sampled() -> None:
    """A patient with four images must enter as rarely as one with a single image, and with all images or none."""
    problem = Problem([0, 0, 0, 0, 1])
    steps, rate = 1000, 0.3
    training = dataclasses.replace(TRAINING, local_steps=steps, learning_rate=1e-12)
    problem.train(dataclasses.replace(LOCAL, sampling_rate=rate), training=training)
    entered = np.zeros(2)
    for rows in problem.rows:
        present = set(problem.patients[rows].tolist())
        entered[list(present)] += 1
        assert sum(problem.patients[rows] == 0) in (0, 4)
    assert np.all(np.abs(entered / steps - rate) < 5 * np.sqrt(rate * (1 - rate) / steps))


def test_one_image_of_a_patient_is_drawn_at_random() -> None:
    problem = Problem([0, 1, 0, 0])
    training = dataclasses.replace(TRAINING, local_steps=600, learning_rate=1e-12)
    problem.train(dataclasses.replace(LOCAL, patient_images="one"), training=training)
    drawn = np.concatenate([rows[problem.patients[rows] == 0] for rows in problem.rows])
    assert drawn.size == 600
    counts = np.bincount(drawn, minlength=4)
    assert counts[1] == 0
    assert np.all(np.abs(counts[[0, 2, 3]] - 200) < 5 * np.sqrt(133))


def test_training_without_privacy_is_refused_from_a_real_source() -> None:
    with pytest.raises(UnaccountableError, match="only in simulation"):
        Problem([0]).train(NONE, source=SecureRandomness())


def test_a_delta_at_or_above_one_in_nominal_patients_is_refused_with_one_that_works() -> None:
    with pytest.raises(UnaccountableError, match=r"0\.001 is not below 1/1000") as refusal:
        Problem([0]).train(LOCAL, nominal=1000)
    assert "0.0001" in refusal.value.fix


def test_a_nominal_count_below_one_is_refused() -> None:
    with pytest.raises(UnaccountableError, match="nominal"):
        Problem([0]).train(LOCAL, nominal=0)


def test_a_start_of_another_model_is_refused() -> None:
    with pytest.raises(UnaccountableError, match="start has 5"):
        Problem([0]).train(LOCAL, start=torch.zeros(5))


def test_terms_with_a_negative_clip_never_come_to_training() -> None:
    with pytest.raises(PlanError, match="clip"):
        dataclasses.replace(LOCAL, clip=-0.1)
