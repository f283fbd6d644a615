"""How the coordinator turns the mean update of a round into the next model.

Only the opened sum ever gets here, so a strategy is post-processing: it costs no privacy whatever it remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..privacy.aggregation import Opened
from ..privacy.distributed import gradient_variance, mean_gradient
from ..privacy.plan import Plan, TrainingTerms
from .errors import RunError

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeanUpdate:
    """How far the survivors move the model on average (d,), and the variance that their noise put into each value (0
    where there is none, or where it is not known)."""

    values: Vector
    noise_variance: float = 0.0

    def where(self, part: NDArray[np.bool_]) -> MeanUpdate:
        """Of the values (d,) those that `part` (d,) names."""
        return replace(self, values=self.values[part])


class Strategy(Protocol):
    """Turns parameters (d,) and a mean update (d,) into the next parameters (d,), remembering what it must."""

    def step(self, parameters: Vector, update: MeanUpdate) -> Vector:
        """Return the next round's parameters; the arguments are not changed."""
        ...

    def state(self) -> Mapping[str, Vector]:
        """What must be restored for a resumed run to go on as if it had never stopped."""
        ...

    def restore(self, state: Mapping[str, Vector]) -> None:
        """Take back what `state` gave; RunError when it is another strategy's."""
        ...


class FedAvg:
    """Adds the mean update times the server's learning rate (McMahan et al. 2017; rate 1 is the plain average).

    With momentum b it adds the velocity v = b v + u instead (Hsu, Qi and Brown 2019, FedAvgM). On the mean updates of
    mode "distributed", which are single descent steps, that is SGD with momentum.
    """

    def __init__(self, learning_rate: float, momentum: float = 0.0) -> None:
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._velocity: Vector | None = None

    def step(self, parameters: Vector, update: MeanUpdate) -> Vector:
        """v = momentum * v + u; parameters + learning_rate * v."""
        if self._momentum == 0.0:
            return parameters + self._learning_rate * update.values
        self._velocity = update.values + (0.0 if self._velocity is None else self._momentum * self._velocity)
        return parameters + self._learning_rate * self._velocity

    def state(self) -> Mapping[str, Vector]:
        """The velocity (d,); nothing without momentum or before the first step."""
        return {} if self._velocity is None else {"velocity": self._velocity}

    def restore(self, state: Mapping[str, Vector]) -> None:
        """Take the velocity back; RunError when there should be none, or a stranger is there."""
        if not state:
            self._velocity = None
            return
        _expect(state, {"velocity"} if self._momentum else set())
        self._velocity = state["velocity"].copy()


class FedProx(FedAvg):
    """FedAvg at the coordinator (Li et al. 2020): the proximal term acts at the sites, after clip and noise."""


class FedAdam:
    """Adam over mean updates (Reddi et al. 2021, algorithm 2): no bias correction, v begins at tau squared.

    corrected: the noise's variance is taken out of v before the root (Tang, Shpilevskiy and Lecuyer 2023, DP-AdamBC).
    Under much noise v is otherwise the same for every value, and Adam is no more than momentum.
    """

    def __init__(self, learning_rate: float, beta1: float, beta2: float, tau: float, corrected: bool = False) -> None:
        self._learning_rate = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._tau = tau
        self._corrected = corrected
        self._momentum: Vector | None = None
        self._variance: Vector | None = None

    def step(self, parameters: Vector, update: MeanUpdate) -> Vector:
        """m = b1 m + (1 - b1) u; v = b2 v + (1 - b2) u^2; parameters + learning_rate * m / (sqrt(v) + tau).

        Corrected, each u^2 counts less the noise's variance, and where v falls below tau^2 it stands at tau^2.
        """
        u = update.values
        momentum = np.zeros_like(u) if self._momentum is None else self._momentum
        variance = np.full_like(u, self._tau**2) if self._variance is None else self._variance
        self._momentum = self._beta1 * momentum + (1.0 - self._beta1) * u
        noise = update.noise_variance if self._corrected else 0.0
        self._variance = self._beta2 * variance + (1.0 - self._beta2) * (u**2 - noise)
        size = np.sqrt(np.maximum(self._variance, self._tau**2 if self._corrected else 0.0))
        return parameters + self._learning_rate * self._momentum / (size + self._tau)

    def state(self) -> Mapping[str, Vector]:
        """Both moments (d,), or nothing before the first step."""
        if self._momentum is None or self._variance is None:
            return {}
        return {"momentum": self._momentum, "variance": self._variance}

    def restore(self, state: Mapping[str, Vector]) -> None:
        """Take both moments back; RunError when one is missing or a stranger is there."""
        if not state:
            self._momentum = self._variance = None
            return
        _expect(state, {"momentum", "variance"})
        self._momentum = state["momentum"].copy()
        self._variance = state["variance"].copy()


def mean_update(plan: Plan, opened: Opened, round: int) -> MeanUpdate:
    """The mean update (d,) behind an opened sum: how far the survivors, weighed by nominal patients, move the model.

    In mode "distributed" the sum is of gradients, and the mean update is one descent step, -learning_rate x their
    mean: FedAvg at server_learning_rate 1 is then SGD at the plan's learning_rate, and server_momentum its momentum.
    The schedule's rate is the coordinator's to apply there; in the other modes the sites did.
    """
    if plan.privacy.mode == "distributed":
        training = plan.training_in(round)
        rate = training.learning_rate * training.recipe.rate(round - 1, plan.rounds)
        gradient = mean_gradient(plan, opened.total, opened.survivors, round)
        noise = gradient_variance(plan, opened.total.size, opened.survivors, round)
        return MeanUpdate(-rate * gradient, rate**2 * noise)
    weight = sum(plan.nominal(site) for site in opened.survivors)
    return MeanUpdate(opened.total / weight, _local_variance(plan, opened.survivors, round) / weight**2)


def _local_variance(plan: Plan, survivors: tuple[str, ...], round: int) -> float:
    """The variance that the sites' own noise puts into each value of the sum, by their steps' rates and momentum."""
    if plan.privacy.mode == "none":
        return 0.0
    training, privacy = plan.training_in(round), plan.privacy
    steps = training.local_steps
    first = (round - 1) * steps
    rates = [training.learning_rate * training.recipe.rate(first + step, plan.steps) for step in range(steps)]
    # The noise of step s moves the model at every later step too, each time by momentum less.
    reach = [sum(rates[t] * training.momentum ** (t - s) for t in range(s, steps)) for s in range(steps)]
    stds = [privacy.noise_multiplier * plan.clip(first + step) / privacy.sampling_rate for step in range(steps)]
    return len(survivors) * sum((std * far) ** 2 for std, far in zip(stds, reach, strict=True))


def strategy_for(terms: TrainingTerms) -> Strategy:
    """The strategy that a plan's training terms name, with their settings."""
    match terms.strategy:
        case "fedavg":
            return FedAvg(terms.server_learning_rate, terms.server_momentum)
        case "fedprox":
            return FedProx(terms.server_learning_rate)
        case "fedadam":
            corrected = terms.recipe.corrected
            return FedAdam(
                terms.server_learning_rate, terms.server_beta1, terms.server_beta2, terms.server_tau, corrected
            )


def _expect(state: Mapping[str, Vector], names: set[str]) -> None:
    if set(state) != names:
        raise RunError(
            f"the checkpoint's strategy state holds {sorted(state)} instead of {sorted(names)}",
            where="checkpoint",
            fix="resume with the plan that the run was started with",
        )
