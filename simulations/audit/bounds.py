"""From an attacker's hits to a lower bound on epsilon that holds with a stated confidence. No privacy package is used.

What is assumed of the mechanism is in each function's text; a bound above the claim refutes the claim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

CONFIDENCE = 0.999
_STEPS_TO_ONE = 100
_MOST = 20
_SHARES = (1.0, 0.5, 0.25, 0.125)


def one_run_tail(guesses: int, right: int, canaries: int, epsilon: float, delta: float) -> float:
    """How likely `right` or more of `guesses` are under (epsilon, delta), at most: Steinke, Nasr and Jagielski (2023).

    `canaries` fair coins decided who takes part, and `guesses` of them are guessed from one output of the mechanism.
    Given the output, each coin under pure epsilon is guessed with probability at most q = e^epsilon / (1 + e^epsilon),
    whatever the other coins are, so that the hits lie below a binomial W of (guesses, q). Delta lets an adversary add
    a number F of sure hits to W, of which nothing is known but that its mean is at most 2 x canaries x delta. The
    worst law of F for the event W + F >= right puts all its mass on 0 and one i, which makes the answer
    P[W >= right] + 2 canaries delta max over i of P[right - i <= W < right] / i.
    """
    from scipy.stats import binom

    q = 1.0 / (1.0 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, q))
    if right > 0 and delta > 0.0:
        gained = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, q))
        tail += 2.0 * canaries * delta * float(np.max(gained / np.arange(1, right + 1)))
    return min(1.0, tail)


def one_run_epsilon(guesses: int, right: int, canaries: int, delta: float, confidence: float = CONFIDENCE) -> float:
    """The largest multiple of 0.01 up to which every epsilon is refuted at `confidence` (0.0 when none is).

    A mechanism that is (epsilon, delta) private is so at the next multiple above too, which this exceeds with
    probability at most 1 - confidence.
    """
    refuted = 0.0
    for number in range(_MOST * _STEPS_TO_ONE + 1):
        epsilon = number / _STEPS_TO_ONE
        if one_run_tail(guesses, right, canaries, epsilon, delta) > 1.0 - confidence:
            break
        refuted = epsilon
    return refuted


def one_run_bound(
    scores: Vector, included: NDArray[np.bool_], delta: float, confidence: float = CONFIDENCE
) -> tuple[float, int, int]:
    """(epsilon, guesses, right) from one score for each canary (m,), higher for those that seem to have taken part.

    The highest k are guessed in, the lowest k out, the middle abstained from, for 2k of about m, m/2, m/4 and m/8
    fixed beforehand; the best of the four is taken, each at a quarter of the allowed error.
    """
    order = np.argsort(scores, kind="stable")
    each = 1.0 - (1.0 - confidence) / len(_SHARES)
    best = (-1.0, 0, 0)
    for share in _SHARES:
        half = max(1, int(scores.size * share) // 2)
        right = int(included[order[-half:]].sum() + (~included[order[:half]]).sum())
        found = (one_run_epsilon(2 * half, right, scores.size, delta, each), 2 * half, right)
        best = max(best, found, key=lambda one: one[0])
    return best


def share_interval(hits: int, trials: int, error: float) -> tuple[float, float]:
    """Clopper and Pearson (1934): the interval of a share, each of its two ends wrong with probability `error`."""
    from scipy.stats import beta

    low = 0.0 if hits == 0 else float(beta.ppf(error, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(beta.ppf(1.0 - error, hits + 1, trials - hits))
    return low, high


def free_epsilon(without: Vector, with_one: Vector, delta: float, confidence: float = CONFIDENCE) -> float:
    """A lower bound on epsilon from draws of a number computed from the output on two neighbouring sets, any law.

    Any event S has P[S with] <= e^epsilon P[S without] + delta, and the reverse. The first half of the draws chooses
    the half-lines S, the second half bounds their probabilities (Clopper and Pearson).
    """
    half, other = without.size // 2, with_one.size // 2
    found = 0.0
    error = (1.0 - confidence) / 4.0
    for more, less, sign in ((with_one, without, 1.0), (without, with_one, -1.0)):
        first_more, first_less = np.sort(sign * more[: min(half, other)]), np.sort(sign * less[: min(half, other)])
        second_more, second_less = sign * more[min(half, other) :], sign * less[min(half, other) :]
        best, chosen = -math.inf, first_more[0]
        for threshold in np.quantile(np.concatenate([first_more, first_less]), np.linspace(0.02, 0.98, 97)):
            value = _ratio(first_more, first_less, float(threshold), delta, error)
            if value > best:
                best, chosen = value, float(threshold)
        found = max(found, _ratio(second_more, second_less, float(chosen), delta, error))
    return found


def _ratio(more: Vector, less: Vector, threshold: float, delta: float, error: float) -> float:
    low, _ = share_interval(int((more >= threshold).sum()), more.size, error)
    _, high = share_interval(int((less >= threshold).sum()), less.size, error)
    return math.log((low - delta) / high) if low > delta else 0.0


def largest_deviation(samples: Sequence[Vector], confidence: float = CONFIDENCE) -> float:
    """An upper bound on the common standard deviation of Gaussian samples with means of their own (chi-square)."""
    from scipy.stats import chi2

    free = sum(one.size - 1 for one in samples)
    squares = sum(float(np.square(one - one.mean()).sum()) for one in samples)
    return math.sqrt(squares / float(chi2.ppf(1.0 - confidence, free)))
