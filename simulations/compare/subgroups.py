"""Subgroups of patients by the cells of a table's column: each value, or thirds where a column holds many numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_VALUES = 8
"""A column with more values than this is cut into thirds where they are numbers, and otherwise keeps its commonest."""


def told_apart(cells: Sequence[str]) -> list[tuple[str, NDArray[np.intp]]]:
    """(value, rows) of each subgroup, in order; empty cells belong to none."""
    known = sorted({cell for cell in cells if cell})
    values = np.array(cells)
    if len(known) <= MOST_VALUES:
        return [(value, np.flatnonzero(values == value)) for value in known]
    numbers = _numbers(cells)
    if numbers is not None:
        low, high = np.nanquantile(numbers, [1 / 3, 2 / 3])
        parts = (
            (f"up to {low:g}", numbers <= low),
            (f"{low:g} to {high:g}", (numbers > low) & (numbers <= high)),
            (f"above {high:g}", numbers > high),
        )
        return [(name, np.flatnonzero(rows)) for name, rows in parts if rows.any()]
    common = sorted(known, key=lambda value: (-int(np.sum(values == value)), value))[:MOST_VALUES]
    return [(value, np.flatnonzero(values == value)) for value in sorted(common)]


def _numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """The cells as numbers, not a number where empty; None when one is no number."""
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return None
