"""When the days are over: what labelling everything takes, by hand, with proposals, and with some accepted unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.acceptance import Acceptance, accept_unseen, cases_needed
from ..compare.folds import Rows
from .course import Finish, Work, total
from .desk import Desk, Shown
from .terms import DaysTerms

ALPHA = 0.05
"""The chance of error that a threshold is sought with."""


@dataclass(frozen=True, slots=True, eq=False)
class _Rest:
    """A hospital's unread images, with what reading each would take: as proposed, by hand, with the commoner class."""

    desk: Desk
    shown: Shown | None
    rows: Rows
    trials: list[tuple[Work, Work, Work]]


def finishes(desks: Sequence[Desk], shown: Sequence[Shown | None], terms: DaysTerms) -> list[Finish]:
    """Every way of labelling what the days left over. Hidden patients still to come are read hidden in all of them.

    A hospital's own hidden share must reach the precision by itself ("alone"), or all hospitals' shares as one
    ("together"), which only a simulation may look at without charging for it.
    """
    for desk in desks:
        while desk.hidden_read < len(desk.hidden):
            desk.read_hidden(terms.hidden_readings)
    rests = [
        _Rest(desk, model, rows := desk.rest(), [desk.trial(row, model) for row in rows.tolist()])
        for desk, model in zip(desks, shown, strict=True)
    ]
    waiting = sum(len(rest.rows) for rest in rests)
    done = [
        ("hand", total([*(desk.by_hand for desk in desks), *(trial[1] for rest in rests for trial in rest.trials)])),
        ("commoner", total([*(desk.common for desk in desks), *(trial[2] for rest in rests for trial in rest.trials)])),
        ("commoner unseen", total([_commoner_unseen(desk) for desk in desks])),
        ("shown", total([*(desk.work for desk in desks), *(trial[0] for rest in rests for trial in rest.trials)])),
    ]
    found = [Finish(how, None, work, waiting, 0, 0, 0, len(desks), 0, 0, 0) for how, work in done]
    for precision in terms.precisions:
        alone = [_accepted([rest], precision) for rest in rests]
        found.append(_finish("alone", precision, rests, alone))
        whole = _accepted(rests, precision)
        found.append(_finish("together", precision, rests, [whole] * len(rests)))
    return found


def _accepted(rests: Sequence[_Rest], precision: float) -> Acceptance:
    """What may be accepted unseen by these hospitals' hidden shares taken as one."""
    scores: list[NDArray[np.float64]] = [np.zeros(0)]
    waiting: list[NDArray[np.float64]] = [np.zeros(0)]
    right: list[NDArray[np.bool_]] = [np.zeros(0, np.bool_)]
    whose: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for rest in rests:
        if rest.shown is None:
            continue
        rows = np.concatenate(rest.desk.hidden)
        scores.append(rest.shown.sure(rows))
        right.append(_agrees(rest.shown.present(rows), rest.desk.labels[rows]))
        whose.append(rest.desk.fold.patients[rows])
        waiting.append(rest.shown.sure(rest.rows))
    seed = rests[0].desk.fold.study.seed
    return accept_unseen(
        np.concatenate(scores),
        np.concatenate(right),
        np.concatenate(whose),
        np.concatenate(waiting),
        precision,
        ALPHA,
        seed,
    )


def _agrees(present: NDArray[np.bool_], said: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether all that is known of an image (n, F) is as proposed."""
    return (np.isnan(said) | (present == (said == 1.0))).all(axis=1)


def _finish(how: str, precision: float, rests: Sequence[_Rest], accepted: Sequence[Acceptance]) -> Finish:
    work = total([rest.desk.work for rest in rests])
    unseen = right = able = 0
    for rest, one in zip(rests, accepted, strict=True):
        taken = np.zeros(len(rest.rows), np.bool_)
        if rest.shown is not None and one.threshold is not None:
            taken = rest.shown.sure(rest.rows) >= one.threshold
            able += 1
        work = work.plus(total([trial[0] for trial, gone in zip(rest.trials, taken.tolist(), strict=True) if not gone]))
        if rest.shown is not None:
            rows = rest.rows[taken]
            present, truth = rest.shown.present(rows), rest.desk.fold.truth[rows]
            known = ~np.isnan(truth)
            work = work.plus(
                Work(len(rows), 0.0, 0.0, int((known & (present != (truth == 1.0))).sum()), int(known.sum()))
            )
            unseen += len(rows)
            right += int(_agrees(present, truth).sum())
    patients = [one.patients for one in accepted]
    return Finish(
        how=how,
        precision=precision,
        work=work,
        waiting=sum(len(rest.rows) for rest in rests),
        unseen=unseen,
        right=right,
        able=able,
        sites=len(rests),
        hidden_fewest=min(patients),
        hidden_most=max(patients),
        needed=cases_needed(precision, ALPHA),
    )


def _commoner_unseen(desk: Desk) -> Work:
    """Every image as the commoner class, looked at by nobody."""
    rows = np.concatenate([*desk.trained, *desk.hidden])
    truth = desk.fold.truth[rows]
    known = ~np.isnan(truth)
    wrong = known & ((truth == 1.0) != np.array(desk.commoner))
    return Work(len(rows), 0.0, 0.0, int(wrong.sum()), int(known.sum()))
