"""One loop over the days: read, enter, train at night, propose again; and at the end, everything labelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...models.calibration import fit_temperature, probabilities
from ...models.checkpoint import Release
from ..compare.folds import Fold
from ..scoring import mean_auroc, run_model
from .course import TRAINED, Course, Day, total
from .desk import Desk, Shown
from .finish import finishes
from .nights import Nights, training_share
from .terms import DaysTerms, Order
from .worklist import coin, doubt_of, entry_chance, reading_order


def run_loop(fold: Fold, terms: DaysTerms, order: Order, folder: Path, advance: Callable[[int], None]) -> Course:
    """Run the loop in one order of the worklist; `folder` is for what the nodes leave on disk, and must not exist.

    `advance` is told how many days are over. The starting model proposes nothing: until the first night every image is
    read by hand.
    """
    desks = [Desk(fold, ward, number, terms.hidden_share) for number, ward in enumerate(fold.wards)]
    outside = np.concatenate([desk.outside for desk in desks])
    days: list[Day] = []
    release = fold.release
    shown: list[Shown | None] = [None] * len(desks)
    chances: NDArray[np.float64] | None = None
    auroc: float | None = None
    with Nights(fold, desks, terms, folder) as nights:
        for day in range(1, terms.days + 1):
            before = [desk.studies for desk in desks]
            for desk, model in zip(desks, shown, strict=True):
                _day(fold, terms, order, desk, model, chances, day)
            night = ""
            if terms.trains(day):
                trained = nights.train(day, release)
                night = trained if isinstance(trained, str) else TRAINED
                if isinstance(trained, Release):
                    release = trained
                    logits, maps = run_model(release, fold.inputs)
                    # What enters training is decided by the release as it is, never by a hospital's own temperatures.
                    chances = _chances(logits, release.card.temperatures)
                    shown = [_shown(desk, release, logits, maps) for desk in desks]
                    auroc = mean_auroc(logits[outside], fold.truth[outside])
            committed, renyi = nights.spent()
            days.append(
                Day(
                    day=day,
                    work=total([desk.work for desk in desks]),
                    by_hand=total([desk.by_hand for desk in desks]),
                    commoner=total([desk.common for desk in desks]),
                    studies=sum(desk.studies for desk in desks),
                    trained_on=sum(int(desk.entered.sum()) for desk in desks),
                    most_read=max(desk.studies - earlier for desk, earlier in zip(desks, before, strict=True)),
                    night=night,
                    auroc=auroc,
                    committed=committed,
                    renyi=renyi,
                )
            )
            advance(day)
    return Course(
        seed=fold.study.seed,
        order=order,
        patients=sum(len(desk.trained) + len(desk.hidden) for desk in desks),
        images=sum(len(rows) for desk in desks for rows in (*desk.trained, *desk.hidden)),
        days=tuple(days),
        finishes=tuple(finishes(desks, shown, terms)),
    )


def _day(
    fold: Fold,
    terms: DaysTerms,
    order: Order,
    desk: Desk,
    shown: Shown | None,
    chances: NDArray[np.float64] | None,
    day: int,
) -> None:
    """One hospital's day: hidden patients as they fall due, then who enters training, then the worklist."""
    names = desk.names()
    doubt = np.array([1.0 if chances is None else doubt_of(chances[rows]) for rows in desk.trained])
    share = training_share(fold, terms, desk.ward.nominal)
    hidden = min(len(desk.hidden), round(day * (terms.studies_a_day - share * desk.ward.nominal)))
    while desk.hidden_read < hidden:
        desk.read_hidden(terms.hidden_readings)
    chance = entry_chance(order, terms.enters, day, share, doubt)
    for patient, name in enumerate(names):
        if not desk.entered[patient] and coin(desk.key, name, day) < chance[patient]:
            desk.entered[patient] = True
            if not desk.read[patient]:
                desk.read_patient(patient, shown)
    lots = np.array([coin(desk.key, name, 0) for name in names])
    for patient in reading_order(order, doubt, lots):
        if desk.studies >= terms.studies_a_day * day:
            break
        if not desk.read[patient]:
            desk.read_patient(patient, shown)


def _chances(logits: NDArray[np.float64], temperatures: Sequence[float]) -> NDArray[np.float64]:
    return np.stack([probabilities(logits[:, f], one) for f, one in enumerate(temperatures)], axis=1)


def _shown(desk: Desk, release: Release, logits: NDArray[np.float64], maps: NDArray[np.float32]) -> Shown:
    """The release as a hospital's readers see it: with temperatures fitted there, on the patients who entered."""
    rows = desk.rows_of([int(one) for one in np.flatnonzero(desk.entered)])
    temperatures: list[float] = []
    for finding in range(logits.shape[1]):
        known = rows[~np.isnan(desk.labels[rows, finding])]
        temperatures.append(fit_temperature(logits[known, finding], desk.labels[known, finding]))
    return Shown(release.hash.hex(), _chances(logits, temperatures), maps)
