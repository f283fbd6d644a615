"""Fine-tuning inside the hospital: from a round's parameters and the frozen records to one contribution.

The network, its features and the training set are built once for a plan and kept in memory between messages. Nothing
else lasts from round to round: momentum starts at zero in each, since what a site would remember of its own noise is
worth little after the others' updates, and a site that missed a round is then no different from one that did not.

A contribution is, in modes "local" and "none", nominal patients x (trained - start): where this site wants to go. In
mode "distributed" it is the sum of its sampled patients' clipped gradients at `start`, in whole steps of the round's
lattice and with its share of the noise: uphill, undivided, and of no use by itself (see privacy.distributed).

In the first rounds of a plan that finds a centre, what is trained is the centre alone, and in the others all but the
centre. The vector has both; in mode "distributed" the noise covers both too, and the coordinator drops what is
noise alone.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..models.centring import Centring
from ..models.checkpoint import Release
from ..models.head import Output
from ..models.loss import image_losses
from ..models.parameters import from_vector, moving, to_vector
from ..models.threads import one_thread
from ..privacy import distributed, dpsgd, lattice
from ..privacy.clipping import Checked, ClippedSum, ImageLosses
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
        centre = self._network.head.centre
        self._origin = None if centre is None else centre.weight.detach().clone()
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
        if self._plan.finds_centre(round):
            return self._find_centre(start, site, round, source)
        augmenting = self._plan.training.augmentation and not self._network.frozen

        def losses(rows: Tensor) -> Tensor:
            inputs, targets = self._set.inputs[rows], self._set.targets.rows(rows)
            if augmenting:
                card = self._release.card
                inputs, targets = augment(inputs, targets, card.transform, source, card.task.mirrored)
            output: Output = self._module(inputs.float())
            return image_losses(output, targets, self._weights, self._plan.training.region_weight)

        self._module.train()
        total = self._stepped(self._module, losses, site, round, source, self._checked)
        self._module.eval()
        return self._contribution(total, start, site, round, source)

    def _find_centre(self, start: Tensor, site: str, round: int, source: Randomness) -> Vector:
        centre = self._network.head.centre
        assert centre is not None and self._origin is not None, "the plan was checked against the release"
        centring = Centring(centre, self._origin)

        def losses(rows: Tensor) -> Tensor:
            return centring(self._set.inputs[rows].float())

        total = self._stepped(centring, losses, site, round, source, Checked())
        with torch.no_grad():
            centre.weight.copy_(centring.centre.weight)
        return self._contribution(total, start, site, round, source)

    def _stepped(
        self,
        module: nn.Module,
        losses: ImageLosses,
        site: str,
        round: int,
        source: Randomness,
        checked: Checked,
    ) -> ClippedSum | None:
        """The round's steps made on `module`; in mode "distributed" the sum of its step instead."""
        nominal = self._plan.nominal(site)
        at_once = dpsgd.rows_at_once(math.prod(self._set.inputs.shape[1:]))
        with one_thread() if self._network.frozen else nullcontext():
            if self._plan.privacy.mode == "distributed":
                return dpsgd.clipped_sum(
                    module,
                    losses,
                    self._set.patients,
                    nominal,
                    self._plan.privacy,
                    self._plan.training.recipe,
                    source,
                    step=round - 1,
                    steps=self._plan.rounds,
                    images_at_once=at_once,
                    checked=checked,
                )
            dpsgd.train(
                module,
                losses,
                self._set.patients,
                nominal,
                self._plan.privacy,
                self._plan.training_in(round),
                source,
                first_step=(round - 1) * self._plan.training.local_steps,
                steps=self._plan.steps,
                images_at_once=at_once,
                checked=checked,
            )
        return None

    def _contribution(
        self, total: ClippedSum | None, start: Tensor, site: str, round: int, source: Randomness
    ) -> Vector:
        if total is not None:
            part = moving(self._module, self._plan.finds_centre(round)).numpy()
            unit = lattice.lattice(self._plan, self.length, round)
            limit = lattice.limit(self._plan, site, round)
            return distributed.contribution(total.among(part), limit, unit, source)
        trained = to_vector(self._module).detach().to(torch.float64)
        return self._plan.nominal(site) * (trained - start.to(torch.float64)).numpy()

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
