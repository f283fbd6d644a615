"""Which proposals may be accepted unseen: a threshold whose lower confidence bound reaches the precision asked for.

The threshold is found on patients who were read with the proposal hidden and never trained on. Taking the lowest
threshold whose precision *there* reaches the target is wrong more often than not: it picks the luckiest of many. Here
thresholds are candidates beforehand, each is tested with an exact bound (Clopper and Pearson 1934), and the chance of
error is divided over them by the fallback procedure (Wiens 2003), so that it stays below `alpha` in all. This is one
way to "learn, then test" (Angelopoulos et al. 2021).

Images of one patient resemble each other, so a patient counts once: at each threshold by one image, drawn at random
among their images that reach it. What is bounded is therefore the chance that the proposal is right for a random
image, above the threshold, of a random patient who has one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ModelError

STEPS = 20
"""Candidates: the thresholds that one twentieth, two twentieths and so on of the images to be accepted reach."""
# The first candidate's share of the chance of error, and the share of the hidden patients that it may be expected to
# take; the more wrong ones it tolerates the better, up to so many.
_FIRST = 0.8
_MIDDLE = 2.0 / 3.0
_TOLERATED = 4


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What may be accepted unseen.

    threshold: accept from this score on; None: nothing. share: of the images to be accepted that reach it, in [0, 1].
    bound: the lower bound of the precision at the threshold, at the level it was tested with; right, of: hidden
    patients there whose drawn image was proposed right, and all of them (0 and 0.0 with no threshold). patients: all
    hidden patients. needed: how many there must be before anything could be accepted, if none were proposed wrong.
    """

    threshold: float | None
    share: float
    bound: float
    right: int
    of: int
    patients: int
    needed: int


def lower_bound(right: int, of: int, alpha: float) -> float:
    """The exact one-sided lower bound of a proportion, wrong with probability alpha at most (Clopper and Pearson).

    right of `of` cases, independent. 0 when none was right. ModelError for counts or levels that make no sense.
    """
    if not 0 <= right <= of or not 0.0 < alpha < 1.0:
        raise ModelError(f"{right} of {of} at level {alpha}", where="lower_bound", fix="give 0 <= right <= of")
    if right == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(right, of - right + 1, alpha))


def cases_needed(target: float, alpha: float, wrong: int = 0) -> int:
    """The fewest cases of which `wrong` may be wrong while the lower bound still reaches `target` (in (0, 1))."""
    if not 0.0 < target < 1.0:
        raise ModelError(f"a precision of {target}", where="cases_needed", fix="ask for one between 0 and 1, as 0.95")
    few, many = wrong + 1, wrong + 2
    while lower_bound(many - wrong, many, alpha) < target:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if lower_bound(middle - wrong, middle, alpha) >= target else (middle, many)
    return few if lower_bound(few - wrong, few, alpha) >= target else many


def accept_unseen(
    scores: ArrayLike,
    right: ArrayLike,
    patients: ArrayLike,
    waiting: ArrayLike,
    target: float,
    alpha: float = 0.05,
    seed: int = 0,
) -> Acceptance:
    """The lowest threshold at which precision is at least `target`, wrong with probability `alpha` at most.

    scores (N,): how sure the model is of what it proposes, of images read with the proposal hidden; right (N,): whether
    the proposal says what the reading said; patients (N,): whose image it is. waiting (M,): the scores of the images to
    be accepted, none of them hidden ones: they alone give the candidates, so that no hidden label has a part in it.
    seed: of the draw of one image for each patient.

    The promise holds for hidden patients drawn at random from those whose images wait, a model that saw neither, and
    one call: who looks again every day must divide alpha by the days. Raises ModelError on arrays that do not fit or
    scores that are not finite.
    """
    s, good, whose = np.asarray(scores, np.float64), np.asarray(right, np.bool_), np.asarray(patients)
    pool = np.sort(np.asarray(waiting, np.float64))[::-1]
    if not s.shape == good.shape == whose.shape or s.ndim != 1 or pool.ndim != 1:
        raise ModelError(
            f"{s.shape} scores, {good.shape} answers", where="accept_unseen", fix="give one for each image"
        )
    if not (np.isfinite(s).all() and np.isfinite(pool).all()):
        raise ModelError("a score is not finite", where="accept_unseen", fix="leave images without a proposal out")
    hidden = len(np.unique(whose))
    nothing = Acceptance(None, 0.0, 0.0, 0, 0, hidden, cases_needed(target, alpha))
    if not len(pool) or hidden < nothing.needed:
        return nothing
    places = _candidates(hidden, target, alpha)
    order = np.random.default_rng(seed).permutation(len(s))
    best, carried = nothing, 0.0
    for number, place in enumerate(places):
        own = alpha if len(places) == 1 else alpha * (_FIRST if number == 0 else (1.0 - _FIRST) / (len(places) - 1))
        level = own + carried
        threshold = float(pool[max(0, math.ceil(len(pool) * place / STEPS) - 1)])
        first = _one_each(order, s >= threshold, whose)
        count, agreed = len(first), int(good[first].sum())
        bound = lower_bound(agreed, count, level) if count else 0.0
        carried = level if bound >= target else 0.0
        share = float((pool >= threshold).mean())
        if bound >= target and share > best.share:
            best = Acceptance(threshold, share, bound, agreed, count, hidden, nothing.needed)
    return best


def _candidates(hidden: int, target: float, alpha: float) -> list[int]:
    """Which twentieths are tried, in order; they follow from the number of hidden patients alone.

    The first is in the middle, where enough of them are expected that several may be wrong: at a high threshold there
    are too few for any bound, at a low one too many are wrong. From there on to more images, each with what the one
    before left when it held; last, for themselves, to fewer.
    """
    needed = [cases_needed(target, alpha * _FIRST, wrong) for wrong in range(_TOLERATED + 1)]
    fitting = [cases for cases in needed if cases <= hidden * _MIDDLE] or needed[:1]
    first = min(STEPS, math.ceil(STEPS * fitting[-1] / hidden))
    least = min(first, math.ceil(STEPS * needed[0] / hidden))
    return [*range(first, STEPS + 1), *range(least, first)]


def _one_each(
    order: NDArray[np.int64], reaching: NDArray[np.bool_], patients: NDArray[np.generic]
) -> NDArray[np.int64]:
    """The first image in `order` of each patient among those that reach the threshold."""
    kept = order[reaching[order]]
    return kept[np.unique(patients[kept], return_index=True)[1]]
