"""One seed's division of the images: hospitals, training rows, and the held-out patients of every cell's test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...client.annotations import Box, Region
from ...client.store import FrozenRecord
from ...client.training_set import TrainingSet
from ...models.checkpoint import Release
from ...models.transform import prepare_mask
from ..data import Hospital, Truth, collect
from ..errors import StudyError
from ..partition import nominal, split_patients
from ..readers import region_mask
from ..scoring import finished
from ..study import Study
from ..terms import PhantomData
from .features import Images, key_of

if TYPE_CHECKING:
    from torch import Tensor

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Ward:
    """A hospital in one fold. train, test: rows of the images; `nominal` as it would declare its training patients."""

    name: str
    train: Rows
    test: Rows
    train_patients: int
    test_patients: int
    nominal: int


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """A seed's hospitals. inputs: of all images (N, ...); truth (N, F): 1, 0, or not a number; patients (N,): numbers
    of their own; truths: of each image (None where this fold has not got it)."""

    study: Study
    release: Release
    images: Images
    wards: tuple[Ward, ...]
    inputs: Tensor
    truth: NDArray[np.float64]
    patients: NDArray[np.int64]
    truths: tuple[Truth | None, ...]
    regions: NDArray[np.float32]
    drawn: NDArray[np.bool_]

    @property
    def test(self) -> Rows:
        """The rows of all held-out images."""
        return np.concatenate([ward.test for ward in self.wards])

    def maps(self, row: int, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """The head's maps (F, h, w) of an image as the network gives them, see FindingNet.finished."""
        if self.images.seen is None:
            return maps
        return finished(self.release, maps, self.images.seen[row])

    def rows(self, ward: Ward) -> TrainingSet:
        """A hospital's training rows, labelled with the truth, as production's training_set.build would give them."""
        import torch

        from ...models.loss import Targets

        rows = ward.train
        truth = self.truth[rows]
        numbers: dict[int, int] = {}
        patients = np.array([numbers.setdefault(int(one), len(numbers)) for one in self.patients[rows]], np.int64)
        keys = [self.images.pictures[row].key for row in rows]
        return TrainingSet(
            inputs=self.inputs[torch.from_numpy(rows)],
            features=self.release.card.architecture.frozen,
            targets=Targets(
                torch.from_numpy(np.nan_to_num(truth).astype(np.float32)),
                torch.from_numpy(~np.isnan(truth)),
                torch.from_numpy(self.regions[rows]),
                torch.from_numpy(self.drawn[rows]),
            ),
            patients=patients,
            records=tuple(FrozenRecord(key, 0, str(one), "") for key, one in zip(keys, patients, strict=True)),
            failed=(),
        )


def hospitals_of(study: Study, data: Path | None, seed: int, place: Path, first: Sequence[Hospital]) -> list[Hospital]:
    """The hospitals of a seed. A partition drawn at random is drawn by it; natural hospitals and phantoms, `first`,
    stay as they are."""
    drawn = not isinstance(study.data, PhantomData) and study.sites.partition != "column"
    if not drawn or seed == study.seed:
        return list(first)
    return list(collect(replace(study, seed=seed), data, place, lambda _: None))


def fold_of(study: Study, seed: int, images: Images, hospitals: Sequence[Hospital], release: Release) -> Fold:
    """Divide the images for a seed. StudyError when a hospital is left with fewer than two usable patients."""
    import torch

    findings = len(study.task.findings)
    where = {picture.key: row for row, picture in enumerate(images.pictures)}
    count = len(images.pictures)
    truth = np.full((count, findings), np.nan)
    patients = np.full(count, -1, np.int64)
    truths: list[Truth | None] = [None] * count
    numbers: dict[tuple[str, str], int] = {}
    wards: list[Ward] = []
    for hospital in hospitals:
        mine = sorted(
            (where[key], one.asked(study.task, images.pictures[where[key]].laterality))
            for one in hospital.truths.values()
            if (key := key_of(study, hospital, one.source)) in where
        )
        ward = _ward(study, seed, hospital, mine)
        wards.append(ward)
        for row, one in mine:
            truths[row] = one
            truth[row] = [np.nan if state is None else float(state) for state in one.present]
            patients[row] = numbers.setdefault((hospital.name, one.patient), len(numbers))
    regions, drawn = _regions(study, release, images, truths)
    return Fold(
        study=replace(study, seed=seed),
        release=release,
        images=images,
        wards=tuple(wards),
        inputs=torch.from_numpy(images.inputs),
        truth=truth,
        patients=patients,
        truths=tuple(truths),
        regions=regions,
        drawn=drawn,
    )


def _ward(study: Study, seed: int, hospital: Hospital, mine: Sequence[tuple[int, Truth]]) -> Ward:
    here = {one.patient for _, one in mine}
    labels = {patient: label for patient, label in hospital.labels().items() if patient in here}
    if len(labels) < 2:
        raise StudyError(
            f"{len(labels)} patients of {hospital.name!r} are usable, which leaves none to hold out",
            where=str(hospital.folder),
            fix="look at the reasons of the images left out, or leave the hospital out",
        )
    split = split_patients(labels, study.sites, seed)
    return Ward(
        name=hospital.name,
        train=np.array([row for row, one in mine if one.patient in split.train], np.int64),
        test=np.array([row for row, one in mine if one.patient in split.held_out], np.int64),
        train_patients=len(split.train),
        test_patients=len(split.held_out),
        nominal=nominal(len(split.train), study.sites.nominal_rounding),
    )


def _regions(
    study: Study, release: Release, images: Images, truths: Sequence[Truth | None]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Coverage of the map grid (N, F, h, w) by true regions as the study's readers draw them, and which were drawn.

    As in production, an absent finding teaches an empty region. Where regions teach nothing none is made.
    """
    findings = len(study.task.findings)
    drawn = np.zeros((len(truths), findings), np.bool_)
    if study.plan.region_weight == 0.0:
        return np.zeros((len(truths), findings, 1, 1), np.float32), drawn
    regions = np.zeros((len(truths), findings, *images.grid), np.float32)
    for row, truth in enumerate(truths):
        for finding, state in enumerate(() if truth is None else truth.present):
            picture = images.pictures[row]
            drawn[row, finding] = state is False
            if truth is None or not state or study.readers.regions == "none":
                continue
            mask = truth.mask_of(finding)
            if mask is None or mask.shape != (picture.rows, picture.columns) or not mask.any():
                continue
            if study.readers.regions == "box":
                down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                box = Box(float(across[0]), float(down[0]), float(across[-1] + 1), float(down[-1] + 1))
                mask = region_mask([Region("box", box, "drawn")], picture.rows, picture.columns)
            drawn[row, finding] = True
            regions[row, finding] = prepare_mask(mask, release.card.transform, *images.grid)
    return regions, drawn
