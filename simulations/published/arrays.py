"""A study's arrays as the comparison's training takes them: rows of patients at hospitals, and a test set at none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...models.checkpoint import Release
from ..compare.features import Images, Picture
from ..compare.folds import Fold, Ward
from ..errors import StudyError
from ..partition import Label, divide_patients, nominal
from ..pretraining import framed
from ..study import Study
from ..terms import ArrayData
from .idx import read_idx


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """images (N, rows, columns) and labels (N,) to train on; the same to test on."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


def read_arrays(study: Study, folder: Path) -> Arrays:
    """The study's four files. StudyError where one cannot be used, has another length than its partner, or holds a
    label that is no finding's."""
    terms = study.data
    if not isinstance(terms, ArrayData):
        raise StudyError(
            "this study's images are not arrays",
            where=f"{study.file}, data.kind",
            fix="medquorum simulate run or compare, with the same study",
        )
    arrays = Arrays(
        read_idx(folder / terms.images, 3),
        read_idx(folder / terms.labels, 1),
        read_idx(folder / terms.test_images, 3),
        read_idx(folder / terms.test_labels, 1),
    )
    for name, images, labels in (
        (terms.labels, arrays.images, arrays.labels),
        (terms.test_labels, arrays.test_images, arrays.test_labels),
    ):
        if len(images) != len(labels) or not len(labels):
            raise StudyError(
                f"{len(labels)} labels for {len(images)} images",
                where=str(folder / name),
                fix="give the images and labels that belong together",
            )
        unknown = sorted(set(np.unique(labels).tolist()) - set(terms.values))
        if unknown:
            raise StudyError(
                f"the label {unknown[0]} is no finding's", where=str(folder / name), fix="name a finding for each label"
            )
    return arrays


def fold_of(study: Study, arrays: Arrays, release: Release) -> Fold:
    """The training images divided among the study's hospitals by its partition and seed, each image a patient."""
    assert isinstance(study.data, ArrayData)
    count = len(arrays.labels)
    truth = arrays.labels[:, None] == np.array(study.data.values)[None]
    # Names of equal length, so that their order is the rows'.
    names = [f"{row:08d}" for row in range(count)]
    labels: dict[str, Label] = {name: tuple(bool(one) for one in row) for name, row in zip(names, truth, strict=True)}
    site_of = divide_patients(labels, study.sites, study.seed)
    sites = np.array([site_of[name] for name in names])
    rows = [np.flatnonzero(sites == name) for name in study.sites.names]
    inputs = framed(arrays.images.astype(np.float32) / np.float32(255.0), release)
    return Fold(
        study=study,
        release=release,
        images=Images(
            pictures=tuple(Picture(name, *arrays.images.shape[1:]) for name in names),
            inputs=inputs.numpy(),
            grid=(1, 1),
            left_out=(),
            pooled=False,
        ),
        wards=tuple(
            Ward(name, mine, np.zeros(0, np.int64), len(mine), 0, nominal(len(mine), study.sites.nominal_rounding))
            for name, mine in zip(study.sites.names, rows, strict=True)
        ),
        inputs=inputs,
        truth=truth.astype(np.float64),
        patients=np.arange(count),
        truths=(None,) * count,
        regions=np.zeros((count, truth.shape[1], 1, 1), np.float32),
        drawn=np.zeros(truth.shape, np.bool_),
    )
