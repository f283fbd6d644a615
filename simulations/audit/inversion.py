"""What one update gives away: gradients of one patient, inverted, bare, with privacy, and masked.

Head: the gradient of a linear head for one patient is a multiple of the patient's mean feature, and the bias's gradient
is the multiple; without a bias the feature is known but for its length and its sign, which is the label's. Image:
gradient matching (Zhu, Liu and Han 2019) on a network of sigmoids and one dense layer, which is what the attack was
published for; on the product's own small backbone it did not find the image in our trials, which is no protection to
count on. Both updates are production's own steps, made from one patient alone, which is the worst case. The image is a
phantom: no page of this audit shows a real patient.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ...client.finetune import Workbench
from ...client.training_set import TrainingSet
from ...models.card import InputTransform
from ...models.checkpoint import Release
from ...models.parameters import movable, to_vector
from ...models.threads import one_thread
from ...models.transform import prepare
from ...privacy import dpsgd
from ...privacy.plan import Plan
from ...privacy.randomness import SeededRandomness
from ...privacy.secure_aggregation import ring
from ...privacy.secure_aggregation.keystream import Mask
from ..phantoms.findings import PLANTERS
from ..phantoms.pictures import draw_pictures
from .bounds import Vector
from .mechanism import one_step
from .rows import kept

if TYPE_CHECKING:
    from torch import Tensor, nn

How = Literal["bare", "private", "masked"]
_SIDE = 32
_CHANNELS = 12
_STEPS = 150


@dataclass(frozen=True, slots=True)
class Recovered:
    """How like the truth an attack's result is. similarity: cosine of features, correlation of images. chance: what
    999 of 1000 random results stay below in size."""

    how: How
    similarity: float
    chance: float


@dataclass(frozen=True, slots=True, eq=False)
class Inversion:
    """features: of the head, () where the whole network is trained. images: of the small network. pictures: the true
    image and each reconstruction (32, 32), in the order of `images`."""

    features: tuple[Recovered, ...]
    images: tuple[Recovered, ...]
    truth: NDArray[np.float32]
    pictures: tuple[NDArray[np.float32], ...]


def invert(
    plan: Plan, private: Plan | None, release: Release, rows: TrainingSet, seed: int, advance: Callable[[int], None]
) -> Inversion:
    """Invert single updates under `plan` (mode "none") and, where given, the private plan."""
    features = _features(plan, private, release, rows, seed) if rows.features else ()
    advance(1)
    truth = _phantom(seed)
    images: list[Recovered] = []
    pictures: list[NDArray[np.float32]] = []
    chance = _chance(truth.size)
    for number, (how, update) in enumerate(_image_updates(truth, plan, private, seed)):
        found = _matched(update, seed)
        similarity = float(np.corrcoef(found.ravel(), truth.ravel())[0, 1])
        images.append(Recovered(how, similarity if math.isfinite(similarity) else 0.0, chance))
        pictures.append(found)
        advance(2 + number)
    return Inversion(features, tuple(images), truth, tuple(pictures))


def masked(values: Vector) -> Vector:
    """The vector as the coordinator sees it on its way, by production's own ring: quantised under one fresh mask."""
    limit = max(float(np.abs(values).max()), 1e-12)
    step = limit / 2.0**24
    key, rounding = os.urandom(32), os.urandom(32)
    return ring.open_vector(ring.mask_vector(values, limit, step, [Mask(key, 1)], rounding), step)[0]


def _chance(size: int) -> float:
    return 3.29 / math.sqrt(size)


def _features(
    plan: Plan, private: Plan | None, release: Release, rows: TrainingSet, seed: int
) -> tuple[Recovered, ...]:
    """Recover the mean feature of a patient whose images have equal labels from updates of the head."""
    labels, assessed = rows.targets.labels.numpy(), rows.targets.assessed.numpy()
    for patient in range(rows.patient_count):
        mine = rows.patients == patient
        if (labels[mine] == labels[mine][0]).all() and assessed[mine].all():
            break
    else:
        return ()
    one = kept(rows, np.arange(rows.patient_count) == patient)
    truth = one.inputs.float().mean(dim=(0, 2, 3)).double().numpy()
    bare = _update(plan, release, one, seed)
    found: list[tuple[How, Vector]] = [("bare", bare)]
    if private is not None:
        local = replace(private, privacy=replace(private.privacy, mode="local", colluding=0))
        found.append(("private", _update(local, release, one, seed)))
    found.append(("masked", masked(bare)))
    return tuple(Recovered(how, _likeness(release, update, truth), _chance(truth.size)) for how, update in found)


def _update(plan: Plan, release: Release, rows: TrainingSet, seed: int) -> Vector:
    bench = Workbench(one_step(plan), release, rows)
    start = to_vector(release.network().trainable()).numpy().astype("<f4").tobytes()
    return bench.update(start, plan.sites[0].name, 1, SeededRandomness(seed, "one update"))


def _likeness(release: Release, update: Vector, truth: Vector) -> float:
    """The cosine between the true mean feature (C,) and what an update of the head gives of it.

    That is the map's weight over its bias, of the finding whose bias moved the most; without a bias the longest weight,
    of either sign.
    """
    named = movable(release.network().trainable())
    sizes = [parameter.numel() for parameter in named.values()]
    parts = dict(zip(named, np.split(update, np.cumsum(sizes)[:-1]), strict=True))
    weights, bias = parts["map.weight"].reshape(-1, truth.size), parts.get("map.bias")
    if bias is None:
        return abs(_cosine(weights[int(np.linalg.norm(weights, axis=1).argmax())], truth))
    finding = int(np.abs(bias).argmax())
    return _cosine(weights[finding] / bias[finding], truth)


def _cosine(one: Vector, other: Vector) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def _phantom(seed: int) -> NDArray[np.float32]:
    (image, _), *_ = draw_pictures(tuple(PLANTERS)[:1], 1, seed)
    return prepare(image, InputTransform(_SIDE, 0.0, 1.0))[0]


def _network() -> nn.Module:
    """Three convolutions with sigmoids and one dense layer, with weights spread as the published attack's."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = nn.Sequential(
            nn.Conv2d(1, _CHANNELS, 5, padding=2, stride=2),
            nn.Sigmoid(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 5, padding=2, stride=2),
            nn.Sigmoid(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 5, padding=2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(_CHANNELS * (_SIDE // 4) ** 2, 1),
        )
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)
    return module


def _image_updates(truth: NDArray[np.float32], plan: Plan, private: Plan | None, seed: int) -> list[tuple[How, Vector]]:
    """The descent direction (d,) of one step on the one image: bare, by the private plan's clip and noise, masked."""
    import torch
    from torch.nn import functional as F

    image = torch.from_numpy(truth)[None, None]

    def step(plan: Plan) -> Vector:
        module = _network()
        before = to_vector(module).double().numpy()

        def losses(rows: Tensor) -> Tensor:
            logits = module(image.expand(len(rows), -1, -1, -1))[:, 0]
            return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits), reduction="none")

        one = one_step(plan)
        training = replace(one.training, learning_rate=1.0, strategy="fedavg", proximal=0.0)
        source = SeededRandomness(seed, "one image")
        dpsgd.train(module, losses, np.zeros(1, np.int64), 1, one.privacy, training, source)
        return before - to_vector(module).double().numpy()

    bare = step(plan)
    found: list[tuple[How, Vector]] = [("bare", bare)]
    if private is not None:
        local = replace(private, privacy=replace(private.privacy, mode="local", colluding=0))
        found.append(("private", step(local)))
    found.append(("masked", masked(bare)))
    return found


def _matched(update: Vector, seed: int) -> NDArray[np.float32]:
    """The image (32, 32) whose gradient is most like the update, by L-BFGS in double precision from noise."""
    import torch
    from torch.nn import functional as F

    module = _network().double()
    parameters = [parameter for _, parameter in sorted(module.named_parameters())]
    wanted = torch.from_numpy(update).split([parameter.numel() for parameter in parameters])
    scale = update.size / max(float(update @ update), 1e-300)
    generator = torch.Generator().manual_seed(seed)
    start = 0.5 + 0.05 * torch.randn((1, 1, _SIDE, _SIDE), generator=generator, dtype=torch.float64)
    image = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [image],
        max_iter=_STEPS,
        max_eval=2 * _STEPS,
        history_size=100,
        line_search_fn="strong_wolfe",
        tolerance_change=0.0,
    )

    def distance() -> float:
        optimiser.zero_grad()
        logits = module(image)
        loss = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        apart = [(one.reshape(-1) - two).square().sum() for one, two in zip(gradients, wanted, strict=True)]
        total = torch.stack(apart).sum() * scale
        total.backward()
        return float(total.detach())

    with one_thread():
        optimiser.step(distance)
    found = torch.nan_to_num(image.detach())[0, 0]
    return found.clamp(0.0, 1.0).float().numpy()
