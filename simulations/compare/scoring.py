"""What a cell's model is worth on its seed's held-out patients, against the truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...client.inference import PRESENT_FROM
from ...client.regions import propose_regions
from ...models.calibration import expected_calibration_error, fit_temperature, probabilities, reliability
from ...models.metrics import bootstrap_by_patient, dice, pointing_hit
from ...models.transform import restore_map
from ..readers import region_mask
from ..results import CalibrationBin, Estimate
from ..resumable.outcomes import Figures, OwnTest, Subgroup
from ..scoring import Scores, mean_auroc, run_model
from ..terms import TableData
from . import subgroups
from .cells import Cell
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
    stated, observed = _stated(fold, wards, logits)
    return Figures(
        auroc=auroc,
        by_finding=tuple(_auroc(fold, test, logits, [finding]) for finding in findings),
        draws=tuple(draws[1:]),
        own=tuple(
            OwnTest(ward.name, ward.test_patients, _auroc(fold, ward.test, logits, list(findings))) for ward in wards
        ),
        subgroups=_subgroups(fold, logits),
        calibration_error=expected_calibration_error(stated, observed, 10) if len(stated) else None,
        calibration=tuple(CalibrationBin(*one) for one in reliability(stated, observed, 10)),
        dice=overlap,
        pointing=pointing,
        train_patients=sum(ward.train_patients for ward in wards),
        test_patients=sum(ward.test_patients for ward in fold.wards),
        epsilon=trained.epsilon,
        noise_multiplier=trained.plan.privacy.noise_multiplier if private else None,
        steps=0 if cell.kind == "pooled" else trained.plan.steps,
        plan=trained.plan.hash.hex(),
        sent=trained.sent,
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


def _stated(fold: Fold, wards: list[Ward], logits: Scores) -> tuple[Scores, NDArray[np.float64]]:
    """The probabilities stated of the hospitals' own held-out images, findings run together, and their truth: after
    each hospital fitted its temperatures on its own training patients, as a node does before it proposes."""
    chances: list[Scores] = []
    truths: list[NDArray[np.float64]] = []
    for ward in wards:
        for finding in range(logits.shape[1]):
            said, truth = fold.truth[ward.train, finding], fold.truth[ward.test, finding]
            known = ~np.isnan(said)
            temperature = fit_temperature(logits[ward.train, finding][known], said[known])
            chances.append(probabilities(logits[ward.test, finding], temperature)[~np.isnan(truth)])
            truths.append(truth[~np.isnan(truth)])
    return np.concatenate(chances), np.concatenate(truths)


def _subgroups(fold: Fold, logits: Scores) -> tuple[Subgroup, ...]:
    """The AUROC among held-out patients who share a value of a column that the study names."""
    data, test = fold.study.data, fold.test
    columns = data.subgroups if isinstance(data, TableData) else ()
    found: list[Subgroup] = []
    for at, column in enumerate(columns):
        cells = [one.groups[at] if (one := fold.truths[row]) is not None else "" for row in test.tolist()]
        for value, members in subgroups.told_apart(cells):
            rows = test[members]
            count = len(np.unique(fold.patients[rows]))
            estimate = _auroc(fold, rows, logits, list(range(logits.shape[1])))
            found.append(Subgroup(column, value, count, estimate))
    return tuple(found)


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
        if truth is None or not any(truth.present):
            continue
        seen = fold.maps(row, maps[row])
        for finding, key in enumerate(keys):
            mask = truth.mask_of(finding) if truth.present[finding] else None
            if mask is None or mask.shape != (picture.rows, picture.columns) or not mask.any():
                continue
            # The temperature moves a chance, but never across one half.
            proposed = logits[row, finding] >= np.log(PRESENT_FROM / (1.0 - PRESENT_FROM))
            regions = (
                propose_regions(key, seen[finding], transform, picture.rows, picture.columns, "mask")
                if proposed
                else ()
            )
            overlaps.append(dice(region_mask(regions, picture.rows, picture.columns), mask))
            full = restore_map(seen[finding], transform, picture.rows, picture.columns)
            hits.append(float(pointing_hit(full, mask)))
            owners.append(int(fold.patients[row]))
    if not hits:
        return None, None
    found = [bootstrap_by_patient(_mean, owners, np.array(values), seed=fold.study.seed) for values in (overlaps, hits)]
    both = [None if one is None else Estimate(*one) for one in found]
    return both[0], both[1]


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
