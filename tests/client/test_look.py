"""Measures of how an image looks, against images of which they are known."""

from __future__ import annotations

import numpy as np
import pytest

from medquorum.client.pixels import look


def test_measures_tell_what_they_are_of() -> None:
    generator = np.random.default_rng(0)
    smooth = np.tile(np.linspace(0.2, 0.8, 64, dtype=np.float32), (64, 1))
    noisy = smooth + generator.normal(0, 0.05, smooth.shape).astype(np.float32)
    assert look.intensity(smooth) == pytest.approx(0.5)
    assert look.noise(smooth) < 1e-6 and look.noise(noisy) == pytest.approx(0.05, rel=0.05)
    wave = np.tile(np.sin(np.linspace(0, 2 * np.pi * 4, 256, endpoint=False)), (256, 1)).astype(np.float32)
    assert look.resolution(wave) == pytest.approx(4.0, rel=0.01)
    doubled = wave.repeat(2, axis=0).repeat(2, axis=1)
    assert look.resolution(doubled) < 1.5 * look.resolution(wave)  # pixels are not resolution
    assert look.resolution(np.full((8, 8), 0.3, np.float32)) == 0.0
