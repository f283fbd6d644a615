"""One real step, drawn many times on two sets of patients that differ by one: is its noise what the accountant counts?

The step is production's own: gradients, clip, noise, and in mode "distributed" the lattice and the other honest sites'
shares. It is made whole a few times, from the parameters to the contribution, and compared with its last part, from the
clipped sum on, which is then drawn thousands of times. It runs over all patients: the sampler is not tested here. The
patient who makes the difference is crafted: three equal images whose gradient is many times the clip, so that a clip
that is dropped, too wide, or taken of images instead of patients shows at once.

Shift. The same step with the same seed on both sets carries the same noise, so the difference is what the patient
changes, free of noise. Deviation. Over thousands of independent draws the noise along that direction is measured, and
bounded from above by chi-square. Their ratio is a lower bound on mu, and mu is a lower bound on epsilon by the Gaussian
mechanism's own curve (Balle and Wang 2018), which assumes that the noise has a Gaussian's shape. A second bound, from
the shares of draws beyond a threshold, assumes nothing, and is looser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...client.finetune import Workbench
from ...client.training_set import TrainingSet
from ...models.checkpoint import Release
from ...models.parameters import moving, to_vector
from ...privacy import accounting, distributed, dpsgd, lattice
from ...privacy.clipping import ClippedSum
from ...privacy.events import plan_events
from ...privacy.plan import Plan
from ...privacy.randomness import Randomness, SeededRandomness
from .bounds import Vector, free_epsilon, largest_deviation
from .rows import beside, kept

if TYPE_CHECKING:
    from torch import Tensor, nn

PATIENTS = 8
"""Real patients beside whom the crafted one is or is not: the claim does not depend on them, the time does."""
APART = 0.05
"""Float32 parameters round a whole step by less than this many deviations of its noise."""
_IMAGES = 3
_REACH = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class Mechanism:
    """draws: on both sets together. claim: the accountant's epsilon of one step at delta. shift, deviation: in clips;
    deviation_most bounds it from above. reach: the crafted patient's gradient in clips, before clipping. apart: the
    largest difference of a value between whole steps and their last parts, in deviations. epsilon: the bound that takes
    the noise for a Gaussian; epsilon_free: the one that assumes nothing. without, with_one: draws
    along the patient's direction, in clips."""

    draws: int
    delta: float
    noise_multiplier: float
    claim: float
    shift: float
    deviation: float
    deviation_most: float
    reach: float
    apart: float
    epsilon: float
    epsilon_free: float
    without: Vector
    with_one: Vector

    @property
    def refuted(self) -> bool:
        """Whether a bound exceeds the claim, or a whole step is not what was drawn."""
        return max(self.epsilon, self.epsilon_free) > self.claim or self.apart > APART


def one_step(plan: Plan) -> Plan:
    """The plan cut to one training step over all patients, without random views of images."""
    recipe = replace(plan.training.recipe, views=1, centring=0)
    return replace(
        plan,
        rounds=1,
        training=replace(plan.training, local_steps=1, augmentation=False, recipe=recipe),
        privacy=replace(plan.privacy, sampling_rate=1.0, patient_images="mean"),
        evaluation=None,
    )


def measure(
    plan: Plan, release: Release, rows: TrainingSet, draws: int, seed: int, advance: Callable[[int], None]
) -> Mechanism:
    """Draw one step of a private `plan` at its first site `draws` times on each set and bound its epsilon."""
    few = kept(rows, np.arange(rows.patient_count) < PATIENTS)
    everyone = beside(few, _crafted(release, few), np.ones((1, len(plan.task.findings)), np.bool_), _IMAGES)
    plan, reach = _with_reach(one_step(plan), release, everyone)
    clip, delta = plan.privacy.clip, plan.privacy.delta
    steps = [_Step(plan, release, one) for one in (few, everyone)]

    coupled = [[step.whole(SeededRandomness(seed, "whole", number)) for step in steps] for number in range(2)]
    apart = max(
        float(np.abs(step.draw(SeededRandomness(seed, "whole", number)) - whole).max())
        for number, wholes in enumerate(coupled)
        for step, whole in zip(steps, wholes, strict=True)
    )
    difference = coupled[0][1] - coupled[0][0]
    direction = difference / np.linalg.norm(difference)
    shift = abs(float((coupled[1][1] - coupled[1][0]) @ direction)) / clip
    found: list[Vector] = []
    for place, step in enumerate(steps):
        values = np.empty(draws)
        for number in range(draws):
            values[number] = step.draw(SeededRandomness(seed, place, number)) @ direction / clip
            advance(place * draws + number + 1)
        found.append(values)
    most = largest_deviation(found)
    return Mechanism(
        draws=2 * draws,
        delta=delta,
        noise_multiplier=plan.privacy.noise_multiplier,
        claim=accounting.epsilon(plan_events(plan), delta),
        shift=shift,
        deviation=float(np.sqrt(np.mean([one.var(ddof=1) for one in found]))),
        deviation_most=most,
        reach=reach,
        apart=apart / (clip * plan.privacy.noise_multiplier),
        epsilon=accounting.gaussian_epsilon(shift / most, delta) if most > 0.0 else float("inf"),
        epsilon_free=free_epsilon(found[0], found[1], delta),
        without=found[0],
        with_one=found[1],
    )


class _Step:
    """One step at a site as whoever opens the sum sees it: the clipped sum and its noise, in the gradient's unit."""

    def __init__(self, plan: Plan, release: Release, rows: TrainingSet) -> None:
        self._plan = plan
        self._bench = Workbench(plan, release, rows)
        module = release.network().trainable()
        self._start = to_vector(module).numpy().astype("<f4").tobytes()
        self._part = moving(module, centring=False).numpy()
        self._total = ClippedSum((np.zeros(np.count_nonzero(self._part)),), plan.privacy.clip, 0)
        if plan.privacy.mode != "none":
            self._total = _clipped(module, plan, rows)

    def whole(self, source: Randomness) -> Vector:
        """The step (d,) as a node makes it, from the parameters to the contribution."""
        plan = self._plan
        moved = self._bench.update(self._start, plan.sites[0].name, 1, source)
        if plan.privacy.mode == "distributed":
            return self._opened(moved, source)
        moved = moved[self._part]
        # Nominal patients x (trained - start), and the step went down the mean over nominal patients.
        return -moved / (plan.training.learning_rate * plan.training.recipe.rate(0, 1))

    def draw(self, source: Randomness) -> Vector:
        """The same from the clipped sum on, which over all patients is the same every time."""
        plan = self._plan
        site = plan.sites[0]
        if plan.privacy.mode == "distributed":
            unit = lattice.lattice(plan, self._bench.length)
            moved = distributed.contribution(
                self._total.among(self._part), lattice.limit(plan, site.name), unit, source
            )
            return self._opened(moved, source)
        return dpsgd.noised_gradient(self._total, site.patients, plan.privacy, source) * site.patients

    def _opened(self, moved: Vector, source: Randomness) -> Vector:
        plan = self._plan
        unit = lattice.lattice(plan, self._bench.length)
        nothing = ClippedSum((np.zeros(self._bench.length),), plan.privacy.clip, 0)
        for _ in range(plan.quorum - plan.privacy.colluding - 1):
            limit = lattice.limit(plan, plan.sites[0].name)
            moved = moved + distributed.contribution(nothing, limit, unit, source)
        return moved[self._part] * unit.step


def _clipped(module: nn.Module, plan: Plan, rows: TrainingSet) -> ClippedSum:
    import torch

    from ...models.loss import image_losses

    weights = torch.tensor(plan.training.finding_weights, dtype=torch.float32)
    module.train()

    def losses(index: Tensor) -> Tensor:
        output = module(rows.inputs[index].float())
        return image_losses(output, rows.targets.rows(index), weights, plan.training.region_weight)

    site = plan.sites[0]
    # Full batch and the mean over images: nothing is drawn.
    nothing = SeededRandomness(0, "nothing is drawn")
    terms, recipe = plan.privacy, plan.training.recipe
    return dpsgd.clipped_sum(module, losses, rows.patients, site.patients, terms, recipe, nothing)


def _crafted(release: Release, rows: TrainingSet) -> Tensor:
    """One input (1, ...) that no real image resembles."""
    import torch

    generator = np.random.default_rng(0xC4AF)
    shape = tuple(rows.inputs.shape[1:])
    if rows.features:
        values = np.broadcast_to(100.0 * generator.standard_normal((1, shape[0], 1, 1)), (1, *shape))
    else:
        values = generator.standard_normal((1, *shape))
    return torch.from_numpy(values.astype(np.float32))


def _with_reach(plan: Plan, release: Release, rows: TrainingSet) -> tuple[Plan, float]:
    """The plan with a clip small enough that the crafted patient's gradient is many times as long, and how many."""
    crafted = kept(rows, np.arange(rows.patient_count) == rows.patient_count - 1)
    bare = replace(plan, privacy=replace(plan.privacy, mode="none", colluding=0))
    bench = _Step(bare, release, crafted)
    # One patient's mean gradient, which the step multiplies by the nominal patients.
    norm = float(np.linalg.norm(bench.whole(SeededRandomness(0)))) / plan.sites[0].patients
    clip = min(plan.privacy.clip, norm / _REACH)
    return replace(plan, privacy=replace(plan.privacy, clip=clip)), norm / clip
