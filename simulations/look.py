"""Patients divided by how their images look: the measures of client.pixels.look, the same for the same file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from .terms import Look

_ENCODINGS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}


def look_of(path: Path, look: Look) -> float | None:
    """The measure of one file (PNG, JPEG, else DICOM: its first frame); None where the file cannot be rendered."""
    stat = path.stat()
    return _measured(path, stat.st_mtime_ns, stat.st_size, look)


# A sweep divides the same files again for each of its cells.
@lru_cache(maxsize=200_000)
def _measured(path: Path, changed: int, size: int, look: Look) -> float | None:
    from ..client.pixels import UnreadableError, render
    from ..client.pixels.look import MEASURES

    try:
        image = render(path.read_bytes(), _ENCODINGS.get(path.suffix.lower(), "dicom")).image
    except UnreadableError:
        return None
    return MEASURES[look](image)


def patient_looks(files: Iterable[tuple[str, Path]], look: Look) -> dict[str, float]:
    """Each patient's measure: the mean over their (patient, file) pairs. A patient with no readable image takes the
    median of the others: the node will put such files into quarantine."""
    found: dict[str, list[float]] = defaultdict(list)
    for patient, path in files:
        value = look_of(path, look)
        found[patient].extend([] if value is None else [value])
    means = {patient: float(np.mean(values)) for patient, values in found.items() if values}
    middle = float(np.median(list(means.values()))) if means else 0.0
    return {patient: means.get(patient, middle) for patient in found}
