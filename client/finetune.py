"""Fine-tuning inside the hospital: from a round's parameters and the frozen records to one contribution.

The network, its features and the training set are built once for a plan and kept in memory between messages. Nothing
else lasts from round to round: momentum starts at zero in each, since what a site would remember of its own noise is
worth little after the others' updates, and a site that missed a round is then no different from one that did not.

A contribution is, in modes "local" and "none", nominal patients x (trained - start): where this site wants to go. In
mode "distributed" it is the sum of its sampled patients' clipped gradients at `start`, in whole steps of the round's
lattice and with its share of the noise: uphill, undivided, and of no use by itself (see privacy.distributed).
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.checkpoint import Release
from ..models.head import Output
from ..models.loss import image_losses
from ..models.parameters import from_vector, to_vector
from ..models.threads import one_thread
from ..privacy import distributed, dpsgd, lattice
from ..privacy.clipping import Checked
from ..privacy.errors import AggregationError
from ..privacy.plan import Plan
from ..privacy.randomness import Randomness
from . import training_set
from .augment import augment
from .store import FrozenRecord

Vector = NDArray[np.float64]

_FORWARD_BATCH = 64


class Workbench:
    """A plan's network and the rows of its frozen records, ready for round after round."""

    def __init__(self, plan: Plan, release: Release, rows: training_set.TrainingSet) -> None:
        self._plan = plan
        self._release = release
        self._network = release.network()
        self._module = self._network.trainable()
        self._set = rows
        self._weights = torch.tensor(plan.training.finding_weights, dtype=torch.float32)
        self._checked = Checked()
        self.length = int(to_vector(self._module).numel())

    def load(self, parameters: bytes) -> Tensor:
        """Put a round's parameters (float32, little endian) into the network and return them (d,).

        Raises AggregationError when there are not d of them or one is not finite.
        """
        if len(parameters) != 4 * self.length:
            raise AggregationError(
                f"the step's model has {len(parameters)} bytes where this plan's has {4 * self.length}"
            )
        values = np.frombuffer(parameters, dtype="<f4")
        if not np.isfinite(values).all():
            raise AggregationError("the step's model holds values that are not finite")
        vector = torch.from_numpy(values.astype(np.float32))
        from_vector(self._module, vector)
        return vector

    def update(self, parameters: bytes, site: str, round: int, source: Randomness) -> Vector:
        """Train from `parameters` as the plan says for `round` (from 1 on); this site's contribution, float64 (d,).

        The caller has charged the ledger for it. Raises what dpsgd.train and, in mode "distributed",
        privacy.distributed.contribution raise.
        """
        start = self.load(parameters)
        nominal = self._plan.nominal(site)
        augmenting = self._plan.training.augmentation and not self._network.frozen

        def losses(rows: Tensor) -> Tensor:
            inputs, targets = self._set.inputs[rows], self._set.targets.rows(rows)
            if augmenting:
                card = self._release.card
                inputs, targets = augment(inputs, targets, card.transform, source, card.task.mirrored)
            output: Output = self._module(inputs.float())
            return image_losses(output, targets, self._weights, self._plan.training.region_weight)

        self._module.train()
        at_once = dpsgd.rows_at_once(math.prod(self._set.inputs.shape[1:]))
        with one_thread() if self._network.frozen else nullcontext():
            if self._plan.privacy.mode == "distributed":
                recipe = self._plan.training.recipe
                total = dpsgd.clipped_sum(
                    self._module,
                    losses,
                    self._set.patients,
                    nominal,
                    self._plan.privacy,
                    recipe,
                    source,
                    step=round - 1,
                    steps=self._plan.rounds,
                    images_at_once=at_once,
                    checked=self._checked,
                )
            else:
                total = None
                dpsgd.train(
                    self._module,
                    losses,
                    self._set.patients,
                    nominal,
                    self._plan.privacy,
                    self._plan.training,
                    source,
                    start,
                    first_step=(round - 1) * self._plan.training.local_steps,
                    steps=self._plan.steps,
                    images_at_once=at_once,
                    checked=self._checked,
                )
        self._module.eval()
        if total is not None:
            unit = lattice.lattice(self._plan, self.length, round)
            return distributed.contribution(total, lattice.limit(self._plan, site, round), unit, source)
        trained = to_vector(self._module).detach().to(torch.float64)
        return nominal * (trained - start.to(torch.float64)).numpy()

    def probabilities(self, parameters: bytes) -> NDArray[np.float64]:
        """The network's probabilities (N, F) for the records, at these parameters, uncalibrated."""
        self.load(parameters)
        self._module.eval()
        parts: list[NDArray[np.float64]] = []
        with one_thread() if self._network.frozen else nullcontext(), torch.inference_mode():
            for first in range(0, len(self._set.patients), _FORWARD_BATCH):
                output: Output = self._module(self._set.inputs[first : first + _FORWARD_BATCH].float())
                parts.append(output.logits.double().sigmoid().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, len(self._plan.task.findings)))

    @property
    def records(self) -> tuple[FrozenRecord, ...]:
        """The records (N), as they were frozen."""
        return self._set.records

    @property
    def patients(self) -> NDArray[np.int64]:
        """The patient index (N,) of each record."""
        return self._set.patients

    @property
    def labels(self) -> NDArray[np.float64]:
        """What readers said (N, F): 1 present, 0 absent, between for uncertain, not a number where not assessed."""
        targets = self._set.targets
        return np.where(targets.assessed.numpy(), targets.labels.double().numpy(), np.nan)
