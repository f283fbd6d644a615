"""How the coordinator turns the mean update of a round into the next model.

Only the opened sum ever gets here, so a strategy is post-processing: it costs no privacy whatever it remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..privacy.aggregation import Opened
from ..privacy.distributed import mean_gradient
from ..privacy.plan import Plan, TrainingTerms
from .errors import RunError

Vector = NDArray[np.float64]


class Strategy(Protocol):
    """Turns parameters (d,) and a mean update (d,) into the next parameters (d,), remembering what it must."""

    def step(self, parameters: Vector, mean_update: Vector) -> Vector:
        """Return the next round's parameters; neither argument is changed."""
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

    def step(self, parameters: Vector, mean_update: Vector) -> Vector:
        """v = momentum * v + mean_update; parameters + learning_rate * v."""
        if self._momentum == 0.0:
            return parameters + self._learning_rate * mean_update
        self._velocity = mean_update + (0.0 if self._velocity is None else self._momentum * self._velocity)
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
    """Adam over mean updates (Reddi et al. 2021, algorithm 2): no bias correction, v begins at tau squared."""

    def __init__(self, learning_rate: float, beta1: float, beta2: float, tau: float) -> None:
        self._learning_rate = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._tau = tau
        self._momentum: Vector | None = None
        self._variance: Vector | None = None

    def step(self, parameters: Vector, mean_update: Vector) -> Vector:
        """m = b1 m + (1 - b1) u; v = b2 v + (1 - b2) u^2; parameters + learning_rate * m / (sqrt(v) + tau)."""
        momentum = np.zeros_like(mean_update) if self._momentum is None else self._momentum
        variance = np.full_like(mean_update, self._tau**2) if self._variance is None else self._variance
        self._momentum = self._beta1 * momentum + (1.0 - self._beta1) * mean_update
        self._variance = self._beta2 * variance + (1.0 - self._beta2) * mean_update**2
        return parameters + self._learning_rate * self._momentum / (np.sqrt(self._variance) + self._tau)

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


def mean_update(plan: Plan, opened: Opened) -> Vector:
    """The mean update (d,) behind an opened sum: how far the survivors, weighed by nominal patients, move the model.

    In mode "distributed" the sum is of gradients, and the mean update is one descent step, -learning_rate x their
    mean: FedAvg at server_learning_rate 1 is then SGD at the plan's learning_rate, and server_momentum its momentum.
    """
    if plan.privacy.mode == "distributed":
        return -plan.training.learning_rate * mean_gradient(plan, opened.total, opened.survivors)
    return opened.total / sum(plan.nominal(site) for site in opened.survivors)


def strategy_for(terms: TrainingTerms) -> Strategy:
    """The strategy that a plan's training terms name, with their settings."""
    match terms.strategy:
        case "fedavg":
            return FedAvg(terms.server_learning_rate, terms.server_momentum)
        case "fedprox":
            return FedProx(terms.server_learning_rate)
        case "fedadam":
            return FedAdam(terms.server_learning_rate, terms.server_beta1, terms.server_beta2, terms.server_tau)


def _expect(state: Mapping[str, Vector], names: set[str]) -> None:
    if set(state) != names:
        raise RunError(
            f"the checkpoint's strategy state holds {sorted(state)} instead of {sorted(names)}",
            where="checkpoint",
            fix="resume with the plan that the run was started with",
        )
