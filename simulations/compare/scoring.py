"""What a cell's model is worth on its seed's held-out patients, against the truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...client.propose import PRESENT_FROM
from ...client.regions import propose_regions
from ...models.calibration import expected_calibration_error, fit_temperature, probabilities
from ...models.metrics import bootstrap_by_patient, dice, pointing_hit
from ...models.transform import restore_map
from ..readers import region_mask
from ..results import Estimate
from ..scoring import Scores, mean_auroc, run_model
from .cells import Cell, Figures, OwnTest
from .folds import Fold, Rows, Ward
from .nodes import Trained


def score(fold: Fold, cell: Cell, trained: Trained, seconds: Callable[[], float]) -> Figures:
    """A cell's figures; `seconds` is asked last for the time it took."""
    logits, maps = run_model(trained.release, fold.inputs)
    test = fold.test
    draws: list[float | None] = []

    def mean(scores: Scores, truth: NDArray[np.float64]) -> float | None:
        draws.append(mean_auroc(scores, truth))
        return draws[-1]

    auroc = _bootstrap(fold, test, mean, logits[test], fold.truth[test])
    findings = range(logits.shape[1])
    wards = [ward for ward in fold.wards if cell.kind != "alone" or ward.name == cell.site]
    overlap, pointing = _regions(fold, test, logits, maps)
    private = trained.plan.privacy.mode != "none"
    return Figures(
        auroc=auroc,
        by_finding=tuple(_auroc(fold, test, logits, [finding]) for finding in findings),
        draws=tuple(draws[1:]),
        own=tuple(
            OwnTest(ward.name, ward.test_patients, _auroc(fold, ward.test, logits, list(findings))) for ward in wards
        ),
        calibration_error=_calibration_error(fold, wards, logits),
        dice=overlap,
        pointing=pointing,
        train_patients=sum(ward.train_patients for ward in wards),
        test_patients=sum(ward.test_patients for ward in fold.wards),
        epsilon=trained.epsilon,
        noise_multiplier=trained.plan.privacy.noise_multiplier if private else None,
        steps=0 if cell.kind == "pooled" else trained.plan.steps,
        plan=trained.plan.hash.hex(),
        seconds=seconds(),
    )


def _auroc(fold: Fold, rows: Rows, logits: Scores, findings: list[int]) -> Estimate | None:
    """The mean AUROC over some findings on some rows."""
    return _bootstrap(fold, rows, mean_auroc, logits[rows][:, findings], fold.truth[rows][:, findings])


def _bootstrap(
    fold: Fold, rows: Rows, metric: Callable[..., float | None], *arrays: NDArray[np.float64]
) -> Estimate | None:
    """A metric with its interval by patient. All cells of a seed draw the same patients in the same order."""
    found = bootstrap_by_patient(metric, fold.patients[rows], *arrays, seed=fold.study.seed)
    return None if found is None else Estimate(*found)


def _calibration_error(fold: Fold, wards: list[Ward], logits: Scores) -> float | None:
    """Expected calibration error over the hospitals' own held-out images, after each fitted its temperatures on its
    own training patients, as a node does before it proposes."""
    chances: list[Scores] = []
    truths: list[NDArray[np.float64]] = []
    for ward in wards:
        for finding in range(logits.shape[1]):
            said, truth = fold.truth[ward.train, finding], fold.truth[ward.test, finding]
            known = ~np.isnan(said)
            temperature = fit_temperature(logits[ward.train, finding][known], said[known])
            chances.append(probabilities(logits[ward.test, finding], temperature)[~np.isnan(truth)])
            truths.append(truth[~np.isnan(truth)])
    together = np.concatenate(chances)
    return expected_calibration_error(together, np.concatenate(truths), 10) if len(together) else None


def _regions(
    fold: Fold, test: Rows, logits: Scores, maps: NDArray[np.float32]
) -> tuple[Estimate | None, Estimate | None]:
    """(Dice, pointing) over held-out findings that are present and whose true mask is known.

    Dice is of the regions that a node would propose, 0 where it proposes none; pointing is the share of maps that
    peak inside the mask.
    """
    overlaps: list[float] = []
    hits: list[float] = []
    owners: list[int] = []
    keys, transform = fold.study.task.keys, fold.release.card.transform
    if fold.images.pooled:
        return None, None
    for row in test.tolist():
        truth, picture = fold.truths[row], fold.images.pictures[row]
        for finding, key in enumerate(keys):
            mask = truth.mask_of(finding) if truth is not None and truth.present[finding] else None
            if mask is None or mask.shape != (picture.rows, picture.columns) or not mask.any():
                continue
            # The temperature moves a chance, but never across one half.
            proposed = logits[row, finding] >= np.log(PRESENT_FROM / (1.0 - PRESENT_FROM))
            regions = (
                propose_regions(key, maps[row, finding], transform, picture.rows, picture.columns, "mask")
                if proposed
                else ()
            )
            overlaps.append(dice(region_mask(regions, picture.rows, picture.columns), mask))
            full = restore_map(maps[row, finding], transform, picture.rows, picture.columns)
            hits.append(float(pointing_hit(full, mask)))
            owners.append(int(fold.patients[row]))
    if not hits:
        return None, None
    found = [bootstrap_by_patient(_mean, owners, np.array(values), seed=fold.study.seed) for values in (overlaps, hits)]
    both = [None if one is None else Estimate(*one) for one in found]
    return both[0], both[1]


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
