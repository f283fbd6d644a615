"""A figure and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval: over other patients who might have been met, and over the noise, if any."""

    value: float
    low: float
    high: float
