"""What was released, as data: events say which mechanism ran, accountants say what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import evaluation
from .errors import UnaccountableError
from .lattice import Shares, shares
from .plan import Plan


@dataclass(frozen=True, slots=True)
class GaussianSteps:
    """`steps` releases of a patient-clipped sum under Gaussian noise, relation: add or remove one patient.

    noise_multiplier: standard deviation of the noise over the sensitivity (> 0). sampling_rate: the probability with
    which each patient enters a step, independently (Poisson); 1.0 means that every patient is in every step.
    shares: the noise is a sum of discrete Gaussians, of which this many are counted on; None for the noise of one site
    on a lattice so fine that it stands for a continuous one (see noise).
    Raises UnaccountableError outside these ranges.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int
    shares: Shares | None = None

    def __post_init__(self) -> None:
        # An int here would come back from the wire as another type.
        object.__setattr__(self, "noise_multiplier", float(self.noise_multiplier))
        object.__setattr__(self, "sampling_rate", float(self.sampling_rate))
        if not (self.noise_multiplier > 0.0 and math.isfinite(self.noise_multiplier)):
            raise UnaccountableError(f"noise of {self.noise_multiplier} times the clip proves nothing")
        if not 0.0 < self.sampling_rate <= 1.0:
            raise UnaccountableError(f"a sampling rate of {self.sampling_rate} is not in (0, 1]")
        if self.steps < 1:
            raise UnaccountableError(f"{self.steps} steps are no event")


def round_events(plan: Plan) -> tuple[GaussianSteps, ...]:
    """What one attempt at one training round of the plan releases about a site's patients; () in mode "none".

    In mode "distributed" to the coordinator and the colluders that the plan states. UnaccountableError when its
    numbers have no lattice.
    """
    return _training(plan, plan.training.local_steps)


def plan_events(plan: Plan) -> tuple[GaussianSteps, ...]:
    """What the whole plan's training releases about a site's patients when no round is repeated; () in mode "none"."""
    return _training(plan, plan.steps)


def evaluation_events(plan: Plan, round: int) -> tuple[GaussianSteps, ...]:
    """What one attempt at evaluating the model after `round` releases about a site's held-out patients.

    The noised histograms and, where the gate takes one, the noised copy. () in mode "none" and without evaluation.
    """
    return _evaluated(plan, 1, int(evaluation.copies(plan, round)) if plan.evaluation is not None else 0)


def plan_evaluation_events(plan: Plan) -> tuple[GaussianSteps, ...]:
    """What the whole plan releases about a site's held-out patients, the spare attempt included; () as above."""
    terms = plan.evaluation
    if terms is None:
        return ()
    rounds = [round for round in range(plan.rounds + 1) if terms.due(round, plan.rounds)]
    copies = sum(evaluation.copies(plan, round) for round in rounds)
    return _evaluated(plan, len(rounds) + evaluation.SPARE, copies + evaluation.SPARE if copies else 0)


def _evaluated(plan: Plan, sums: int, copies: int) -> tuple[GaussianSteps, ...]:
    if plan.evaluation is None or plan.privacy.mode == "none":
        return ()
    noise = plan.evaluation.noise_multiplier
    events = [GaussianSteps(noise, 1.0, sums, evaluation.shares(plan))]
    if copies:
        events.append(GaussianSteps(noise, 1.0, copies, evaluation.copy_shares(plan)))
    return tuple(events)


def _training(plan: Plan, steps: int) -> tuple[GaussianSteps, ...]:
    terms = plan.privacy
    if terms.mode == "none":
        return ()
    shared = shares(plan) if terms.mode == "distributed" else None
    return (GaussianSteps(terms.noise_multiplier, terms.sampling_rate, steps, shared),)


def merged(events: tuple[GaussianSteps, ...]) -> tuple[GaussianSteps, ...]:
    """The same releases with equal mechanisms counted together, in a canonical order (composition commutes)."""
    steps: dict[tuple[float, float, tuple[int, float]], int] = {}
    for event in events:
        shared = (event.shares.count, event.shares.points) if event.shares else (0, 0.0)
        key = (event.sampling_rate, event.noise_multiplier, shared)
        steps[key] = steps.get(key, 0) + event.steps
    return tuple(
        GaussianSteps(noise, rate, count, Shares(*shared) if shared[0] else None)
        for (rate, noise, shared), count in sorted(steps.items())
    )
