"""Drift: what comes from the same scanner seldom drifts, and what does not is found."""

from __future__ import annotations

import numpy as np

from medquorum.client.quality.drift import FEWEST, LEVEL, drift

NAMES = ("intensity", "noise", "resolution")


def images(source: np.random.Generator, number: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    return {name: source.standard_normal(number) + (shift if name == "noise" else 0.0) for name in NAMES}


def test_images_of_one_kind_are_seldom_called_drifted() -> None:
    source = np.random.default_rng(3)
    found = [any(one.drifted for one in drift(images(source, 60), images(source, 40))) for _ in range(300)]
    assert sum(found) <= 300 * LEVEL + 4 * (300 * LEVEL) ** 0.5


def test_the_measure_that_moved_is_named_and_the_others_are_not() -> None:
    source = np.random.default_rng(4)
    found = drift(images(source, 200), images(source, 100, shift=1.0))
    assert [one.measure for one in found] == list(NAMES)
    assert [one.drifted for one in found] == [False, True, False]
    assert found[1].now - found[1].before > 0.7 and found[1].distance > 0.3


def test_too_few_images_say_nothing() -> None:
    source = np.random.default_rng(5)
    assert drift(images(source, FEWEST - 1), images(source, 500)) == ()
    assert drift(images(source, 500), {}) == ()
