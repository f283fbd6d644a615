"""The files that a command of simulations leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Named = tuple[str, Path]
"""What a file is good for, and where it is."""


def keep_texts(texts: Sequence[tuple[str, str, str]], folder: Path) -> list[Named]:
    """Write texts into the folder, replacing earlier ones. Of each: what it is good for, the file's name, the text."""
    for _, name, text in texts:
        (folder / name).write_text(text, encoding="utf-8")
    return [(good_for, folder / name) for good_for, name, _ in texts]


def keep_plots(plots: Mapping[str, bytes], folder: Path) -> tuple[Path, ...]:
    """Write PNGs by their names as plots/NAME.png in the folder, replacing earlier ones."""
    place = folder / "plots"
    place.mkdir(exist_ok=True)
    paths = tuple(place / f"{name}.png" for name in plots)
    for path, png in zip(paths, plots.values(), strict=True):
        path.write_bytes(png)
    return paths
