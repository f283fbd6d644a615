"""Differentially private stochastic gradient descent with the patient as its unit (Abadi et al. 2016).

One step: sample patients, sum their clipped gradients, add Gaussian noise of noise_multiplier x clip, divide by the
*public* expected number of patients, descend. Everything after the noise (momentum, FedProx's pull, the learning
rate) is post-processing. How many patients or images there really are never divides, scales or stops anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .clipping import Checked, ClippedSum, Engine, ImageLosses, PatientGradients, PatientRows, hooked, trainable
from .errors import UnaccountableError
from .noise import add_gaussian, lattice_step
from .plan import PrivacyTerms, TrainingTerms
from .randomness import Randomness
from .recipe import Recipe
from .sampling import sample_images, sample_patients

IMAGES_AT_ONCE = 64
_MOST_AT_ONCE = 512
_VALUES_AT_ONCE = 1 << 19


def rows_at_once(values: int) -> int:
    """How many rows of `values` >= 1 numbers each are worth one backward pass: 64, and of small ones up to 512.

    A pass over 64 images of 32 x 32 pixels is mostly the calling of layers: 512 of them take half the time for each.
    They fill less memory than 64 images of 96 x 96.
    """
    return max(IMAGES_AT_ONCE, min(_MOST_AT_ONCE, _VALUES_AT_ONCE // values))


def train(
    module: nn.Module,
    image_losses: ImageLosses,
    patients: NDArray[np.int64],
    nominal: int,
    terms: PrivacyTerms,
    training: TrainingTerms,
    source: Randomness,
    start: Tensor | None = None,
    *,
    first_step: int = 0,
    steps: int | None = None,
    images_at_once: int = IMAGES_AT_ONCE,
    engine: Engine = "exact",
    checked: Checked | None = None,
) -> None:
    """Make `training.local_steps` steps on `module` in place; nothing that is not private comes back.

    image_losses(rows) returns the losses (B,) of the images in those rows, computed through `module`'s layers, each
    from its own image alone. patients (N,) names the patient of each row. nominal is the site's public patient
    count, the normaliser. start (d,), sorted-name order, is where FedProx pulls to (default: where training starts).
    first_step and steps say where in the whole plan these steps stand, for the schedules of learning rate and clip
    (default: they are all of it). images_at_once bounds the images of one backward pass, hence the memory; the result
    does not depend on it. engine: which of clipping's two sums the gradients; "opacus" knows a few layers more and is
    slower. checked: see clipping.hooked.

    With terms.mode "local" the caller has charged the ledger for these steps before calling. With "none" nothing is
    clipped or noised, each step descends the mean gradient of the sampled patients, and the source must be a
    reproducible one, which exist only in simulation.

    Raises UnaccountableError when delta is not below 1/nominal, when unprotected training is asked of a real source,
    and for models or losses that have no correct per-patient gradient.
    """
    _check(nominal, terms, source)
    if terms.mode == "distributed":
        raise UnaccountableError(
            "in mode 'distributed' a site takes no steps by itself", fix="sum its gradients and add its share of noise"
        )
    index = _Patients(patients)
    parameters = trainable(module)
    anchor = _vector(parameters) if start is None else start.detach().to(torch.float64).cpu().clone()
    if anchor.shape != _vector(parameters).shape:
        raise UnaccountableError(f"the start has {anchor.numel()} values for {_vector(parameters).numel()} parameters")
    velocity = torch.zeros_like(anchor)
    recipe = training.recipe
    hooks = hooked(module, image_losses, images_at_once, engine, checked)
    with _gradients(module, image_losses, nominal, terms, recipe, source, images_at_once, hooks) as gradient_of:
        for step in range(first_step, first_step + training.local_steps):
            clip = terms.clip * recipe.clipped_to(step, steps or training.local_steps)
            gradient = torch.from_numpy(gradient_of(index.draw(terms, recipe.views, source), clip))
            position = _vector(parameters)
            if training.proximal:
                gradient += training.proximal * (position - anchor)
            velocity = training.momentum * velocity + gradient
            rate = training.learning_rate * recipe.rate(step, steps or training.local_steps)
            _assign(parameters, position - rate * velocity)


def clipped_sum(
    module: nn.Module,
    image_losses: ImageLosses,
    patients: NDArray[np.int64],
    nominal: int,
    terms: PrivacyTerms,
    recipe: Recipe,
    source: Randomness,
    *,
    step: int = 0,
    steps: int = 1,
    images_at_once: int = IMAGES_AT_ONCE,
    engine: Engine = "exact",
    checked: Checked | None = None,
) -> ClippedSum:
    """Sample one step's patients and sum their clipped gradients at the module's parameters, which stay as they are.

    step and steps say where in the whole plan this step stands, for the clip's schedule. The other arguments and errors
    are those of `train`. The sum is bare: it is for mode "distributed", where noise is added to it before it leaves
    (see distributed).
    """
    _check(nominal, terms, source)
    batch = _Patients(patients).draw(terms, recipe.views, source)
    with hooked(module, image_losses, images_at_once, engine, checked) as gradients:
        return gradients.clipped_sum(batch, terms.clip * recipe.clipped_to(step, steps), recipe.normalised)


def noised_gradient(total: ClippedSum, nominal: int, terms: PrivacyTerms, source: Randomness) -> NDArray[np.float64]:
    """Hide a clipped sum under noise of noise_multiplier x its sensitivity; divide by the public expected batch.

    Returns float64 (d,). The expected batch is nominal x sampling_rate, so neither the true number of patients nor
    how many were sampled shows.
    """
    std = terms.noise_multiplier * total.sensitivity
    step = lattice_step(total.sensitivity, std, total.size)
    return add_gaussian(total.total, std, step, source) / (nominal * terms.sampling_rate)


@contextmanager
def _gradients(
    module: nn.Module,
    image_losses: ImageLosses,
    nominal: int,
    terms: PrivacyTerms,
    recipe: Recipe,
    source: Randomness,
    images_at_once: int,
    hooks: AbstractContextManager[PatientGradients],
) -> Generator[Callable[[PatientRows, float], NDArray[np.float64]]]:
    """What gives a step's gradient for the step's patients and clip; `hooks` is entered only where there is a clip."""
    if terms.mode == "none":
        yield lambda batch, clip: _mean_gradient(module, image_losses, batch, images_at_once)
        return
    with hooks as patients:
        yield lambda batch, clip: noised_gradient(
            patients.clipped_sum(batch, clip, recipe.normalised), nominal, terms, source
        )


def _mean_gradient(
    module: nn.Module, image_losses: ImageLosses, batch: PatientRows, images_at_once: int
) -> NDArray[np.float64]:
    """The mean over the batch's patients of the mean gradient over their images, without any protection."""
    parameters = trainable(module)
    counts = np.diff(batch.offsets)
    weights = torch.from_numpy(np.repeat(1.0 / (counts * max(1, counts.size)), counts))
    rows = torch.from_numpy(batch.rows)
    module.zero_grad()
    for first in range(0, rows.numel(), images_at_once):
        part = slice(first, first + images_at_once)
        losses = image_losses(rows[part])
        (losses * weights[part].to(losses)).sum().backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters.values()]
    total = torch.cat([gradient.reshape(-1).double().cpu() for gradient in gradients]).numpy()
    module.zero_grad()
    return total


class _Patients:
    """The rows of each patient, and the drawing of a step's patients and images."""

    def __init__(self, patients: NDArray[np.int64]) -> None:
        _, owners = np.unique(patients, return_inverse=True)
        self._rows = np.argsort(owners, kind="stable").astype(np.int64)
        self._counts = np.bincount(owners).astype(np.int64) if owners.size else np.zeros(0, dtype=np.int64)
        self._starts = np.cumsum(self._counts) - self._counts

    def draw(self, terms: PrivacyTerms, views: int, source: Randomness) -> PatientRows:
        """A step's patients and their rows, each row `views` times: the images that the losses will see."""
        chosen = sample_patients(self._counts.size, terms.sampling_rate, source)
        counts, starts = self._counts[chosen], self._starts[chosen]
        if terms.patient_images == "one":
            starts = starts + sample_images(counts, source)
            counts = np.ones_like(counts)
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
        places = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts, counts)
        return PatientRows(np.repeat(self._rows[places], views), offsets * views)


def _check(nominal: int, terms: PrivacyTerms, source: Randomness) -> None:
    if nominal < 1:
        raise UnaccountableError(f"a nominal count of {nominal} patients", fix="declare at least 1")
    if terms.mode == "none":
        if not source.reproducible:
            raise UnaccountableError(
                "training without privacy exists only in simulation",
                fix="plan with mode 'local', or pass the simulation's seeded randomness",
            )
        return
    if terms.delta >= 1.0 / nominal:
        raise UnaccountableError(
            f"delta {terms.delta:g} is not below 1/{nominal}, the inverse of the patients",
            fix=f"choose a delta below {1.0 / nominal:.2g}; {0.1 / nominal:.1g} would do",
        )


def _vector(parameters: dict[str, nn.Parameter]) -> Tensor:
    return torch.cat([p.detach().reshape(-1).to(torch.float64).cpu() for p in parameters.values()])


def _assign(parameters: dict[str, nn.Parameter], vector: Tensor) -> None:
    place = 0
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.copy_(vector[place : place + parameter.numel()].reshape(parameter.shape))
            place += parameter.numel()
