"""The files that a command of simulations leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Named = tuple[str, Path]
"""What a file is good for, and where it is."""


def keep_plots(plots: Mapping[str, bytes], folder: Path) -> tuple[Path, ...]:
    """Write PNGs by their names as plots/NAME.png in the folder, replacing earlier ones."""
    place = folder / "plots"
    place.mkdir(exist_ok=True)
    paths = tuple(place / f"{name}.png" for name in plots)
    for path, png in zip(paths, plots.values(), strict=True):
        path.write_bytes(png)
    return paths
