"""What is read on a day, and what may be trained on.

Two different questions. *Reading* may follow any order: whose label is read first harms nobody. What enters *training*
must be such that adding or removing one patient changes that patient's presence and nothing else, or the guarantee
for one patient is none. "The N most uncertain" is not such a rule, and neither is "the first N of a random order":
where N places are to be had, one patient takes another's. A model fitted inside the hospital is no way out, since
every patient changed it. So here each patient enters by a coin of their own, thrown on each day with a chance that
follows from public numbers and, at most, from what the *released* model says of that patient's images: releases are
outputs that were charged for, so that a rule on them and on one patient changes with that patient only.

Who enters on a day is read on that day, however many there are; what is left of the day's work is read ahead in the
worklist's order, and waits for its own coin before anything learns from it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .terms import Enters, Order


def coin(key: bytes, patient: str, day: int) -> float:
    """A number in [0, 1) that only the site (its `key`) can tell: a patient's own for a day, whoever else is there."""
    return int.from_bytes(hmac.digest(key, f"{day}:{patient}".encode(), hashlib.sha256)[:8]) / 2.0**64


def entry_chance(
    order: Order, enters: Enters, day: int, share: float, doubt: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The chance (N,) that a patient who has not entered training enters on `day` (from 1 on).

    share: of the site's declared patients who are read on one day (public). doubt (N,): of the released model about
    each, in [0, 1]. With doubt 1, or in a random or independent order, days are uniform: after so many days as there
    is work for, everybody entered. Less doubt enters later, so never more than a day's work is expected, but no later
    than at a quarter of the even chance: a release that is sure of everything would else learn from nobody any more.
    """
    left = 1.0 - share * (day - 1)
    even = np.full(len(doubt), min(1.0, share / left) if left > share else 1.0)
    if enters == "independent" or order == "random":
        return even
    return even * (0.25 + 0.75 * doubt if order == "uncertainty" else 0.5 + 0.5 * doubt)


def doubt_of(probabilities: NDArray[np.float64]) -> float:
    """How unsure a model is of one patient, in [0, 1]: the most over images and findings (I, F), 1 at one half."""
    return float(np.max(1.0 - np.abs(2.0 * probabilities - 1.0), initial=0.0))


def reading_order(order: Order, doubt: NDArray[np.float64], lots: NDArray[np.float64]) -> list[int]:
    """Indices (N) in the order in which they are read: by lot, the doubtful first, or the two in turn."""
    by_lot = [int(one) for one in np.argsort(lots, kind="stable")]
    if order == "random":
        return by_lot
    by_doubt = [int(one) for one in np.lexsort((lots, -doubt))]
    if order == "uncertainty":
        return by_doubt
    return _in_turn(by_doubt, by_lot)


def _in_turn(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """One from each in turn, each index once."""
    return list(dict.fromkeys(index for pair in zip(first, second, strict=True) for index in pair))
