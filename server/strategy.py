"""How the coordinator turns the mean update of a round into the next model.

Only the opened sum ever gets here, so a strategy is post-processing: it costs no privacy whatever it remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..privacy.plan import TrainingTerms
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
    """Adds the mean update times the server's learning rate (McMahan et al. 2017; rate 1 is the plain average)."""

    def __init__(self, learning_rate: float) -> None:
        self._learning_rate = learning_rate

    def step(self, parameters: Vector, mean_update: Vector) -> Vector:
        """parameters + learning_rate * mean_update."""
        return parameters + self._learning_rate * mean_update

    def state(self) -> Mapping[str, Vector]:
        """Nothing: every round starts afresh."""
        return {}

    def restore(self, state: Mapping[str, Vector]) -> None:
        """Accept the empty state; RunError on any other."""
        _expect(state, set())


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


def strategy_for(terms: TrainingTerms) -> Strategy:
    """The strategy that a plan's training terms name, with their settings."""
    match terms.strategy:
        case "fedavg":
            return FedAvg(terms.server_learning_rate)
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
