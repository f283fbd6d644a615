"""Training the starting model on generated images before any patient is looked at, which costs no privacy.

What is learned comes from a recipe and a seed alone. The release's card says so: its first training record is marked
synthetic and names no site. The result is kept beside the run under a name made of everything that decides it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..models.card import TrainingRecord
from ..models.checkpoint import Release, load, save
from ..models.errors import ModelError
from .errors import StudyError
from .terms import Pretraining

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "medquorum-pretrained"
_BATCH = 128
_FORMAT = "1"


def pretrained(
    release: Release, terms: Pretraining, seed: int, beside: Path, advance: Callable[[int], None] = lambda _: None
) -> Release:
    """`release` trained on generated images, from the cache in `beside` where it is there.

    `advance` is told how many epochs are done. StudyError when what is kept cannot be read.
    """
    digest = hashlib.sha256(release.hash + repr((_FORMAT, terms, seed)).encode())
    folder = beside / FOLDER / digest.hexdigest()[:32]
    if folder.exists():
        try:
            return load(folder)
        except ModelError as error:
            raise StudyError(
                f"the kept pre-trained model cannot be used: {error.what}",
                where=str(folder),
                fix="delete that folder; it is made anew",
            ) from None
    made = _trained(release, terms, seed, advance)
    record = TrainingRecord(
        plan=f"generated images ({terms.kind})",
        plan_hash=digest.hexdigest(),
        rounds=terms.epochs,
        sites=(),
        nominal_patients=(),
        mode="none",
        epsilon=None,
        delta=None,
        aggregation="none",
        synthetic=True,
    )
    result = replace(made, card=replace(made.card, training=(*made.card.training, record)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        save(result, place / "release")
        if not folder.exists():
            (place / "release").rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return result


def _trained(release: Release, terms: Pretraining, seed: int, advance: Callable[[int], None]) -> Release:
    """Adam (Kingma and Ba 2015) on batches of 128 images, its rate falling to zero along a cosine."""
    import torch

    from ..models.loss import Targets, image_losses
    from ..models.threads import one_thread

    net = release.network()
    module = net.trainable().train()
    optimiser = torch.optim.Adam([each for each in module.parameters() if each.requires_grad], lr=terms.learning_rate)
    batches = -(-terms.images // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, terms.epochs * batches)
    order = torch.Generator().manual_seed(seed)
    weights = torch.ones(len(release.card.task.findings))
    kept: tuple[Tensor, Tensor] | None = None
    with one_thread() if net.frozen else nullcontext():
        for epoch in range(terms.epochs):
            if terms.kind == "fonts":
                inputs, labels = _digits(release, terms, seed * 10_000 + epoch)
            else:
                inputs, labels = kept = kept or _phantoms(release, terms, seed)
            for rows in torch.randperm(terms.images, generator=order).split(_BATCH):
                shape = (len(rows), labels.shape[1])
                targets = Targets(
                    labels[rows], torch.ones(shape, dtype=torch.bool), torch.zeros(*shape, 1, 1), torch.zeros(shape)
                )
                loss = image_losses(module(inputs[rows].float()), targets, weights, 0.0).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            advance(epoch + 1)
    return Release.of(net.eval(), release.card)


def _digits(release: Release, terms: Pretraining, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs (N, 1, S, S) and labels (N, F) of rendered digits."""
    import torch
    from torch.nn import functional as F

    from .glyphs import render_digits

    images, shows = render_digits([int(one) for one in terms.shows], terms.images, seed)
    return framed(images, release), F.one_hot(torch.from_numpy(shows), len(terms.shows)).float()


def framed(images: np.ndarray[tuple[int, ...], np.dtype[np.float32]], release: Release) -> Tensor:
    """Small grey images (N, rows, columns) in [0, 1] as the release's inputs (N, 1, S, S), each in the middle of a
    black frame and not resized. StudyError when an image is larger than an input."""
    import torch

    transform = release.card.transform
    size, (rows, columns) = transform.size, images.shape[1:]
    if max(rows, columns) > size:
        raise StudyError(
            f"images of {rows} x {columns} pixels for a network that takes {size}",
            where="model.size",
            fix=f"set it to {-(-max(rows, columns) // 16) * 16}",
        )
    inputs = torch.full((len(images), 1, size, size), (0.0 - transform.mean) / transform.std)
    top, left = (size - rows) // 2, (size - columns) // 2
    inputs[:, 0, top : top + rows, left : left + columns] = (torch.from_numpy(images) - transform.mean) / transform.std
    return inputs


def _phantoms(release: Release, terms: Pretraining, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs, or features of a frozen backbone, (N, C, h, w) and labels (N, F) of phantom radiographs."""
    import torch

    from ..models.transform import prepare
    from .phantoms.pictures import draw_pictures

    net = release.network().eval()
    inputs: list[Tensor] = []
    labels: list[np.ndarray[tuple[int], np.dtype[np.bool_]]] = []
    for image, present in draw_pictures(terms.shows, terms.images, seed):
        labels.append(present)
        one = torch.from_numpy(prepare(image, release.card.transform))[None]
        with torch.inference_mode():
            inputs.append(net.features(one).half() if net.frozen else one)
    # Made anew outside of inference mode: the features are trained on.
    return torch.cat([each.clone() for each in inputs]), torch.from_numpy(np.stack(labels)).float()
