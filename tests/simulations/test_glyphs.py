"""Rendered digits: what every image promises, whatever the seed."""

from __future__ import annotations

import numpy as np
import pytest

from medquorum.simulations.glyphs import SIDE, render_digits
from medquorum.simulations.glyphs.pen import FORMS, shaken


@pytest.fixture(scope="module")
def some():
    return render_digits(range(10), 200, seed=3)


def test_images_are_bright_digits_on_black_with_every_digit_among_them(some):
    images, shows = some
    assert images.shape == (200, SIDE, SIDE) and images.dtype == np.float32
    assert images.min() >= 0.0 and images.max() <= 1.0
    assert (images.max(axis=(1, 2)) > 0.9).mean() > 0.95
    assert set(shows.tolist()) == set(range(10))
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    assert border.mean() < 0.02


def test_the_ink_stands_in_the_middle_and_fills_its_box(some):
    images, _ = some
    rows = np.arange(SIDE) + 0.5
    mass = images.sum(axis=(1, 2))
    down, across = (images.sum(axis=axis) @ rows / mass for axis in (2, 1))
    assert abs(np.median(down) - SIDE / 2) < 1.0 and abs(np.median(across) - SIDE / 2) < 1.0
    inked = images > 0.5
    longest = np.maximum(inked.any(axis=2).sum(axis=1), inked.any(axis=1).sum(axis=1))
    assert 16 <= np.median(longest) <= 22


def test_the_same_seed_gives_the_same_images_and_another_gives_others():
    first, again, other = (render_digits([2, 8], 20, seed) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_digits_are_numbered_by_their_place():
    _, shows = render_digits([7, 1], 20, seed=1)
    assert set(shows.tolist()) == {0, 1}
    assert render_digits([7], 0, seed=1)[0].shape == (0, SIDE, SIDE)


def test_a_stroke_that_is_not_shaken_passes_through_its_control_points():
    for form in FORMS[8]:
        for stroke in form:
            line = shaken(stroke, 0.0, np.random.default_rng(1))
            distances = np.linalg.norm(line[None] - np.array(stroke)[:, None], axis=2)
            assert distances.min(axis=1).max() < 1e-12
