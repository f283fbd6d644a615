"""Overlays that old files keep in the unused high bits of their pixels: gone with the overlays they belong to."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

_FIRST, _LAST = 0x6000, 0x601E


def clear_overlay_bits(dataset: Dataset, clean: Dataset) -> None:
    """Where `dataset` has an overlay without data of its own, set the bits above BitsStored of `clean`'s pixels to 0
    (retired PS3.5 section 8.1.2; in native pixels only, compressed ones hold no such bits)."""
    if not any((group << 16 | 0x0010) in dataset and (group << 16 | 0x3000) not in dataset for group in _groups()):
        return
    allocated, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    if allocated not in (8, 16, 32) or not isinstance(stored, int) or not 0 < stored < allocated:
        return
    if UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated or "PixelData" not in clean:
        return
    order = "<" if dataset.original_encoding[1] is not False else ">"
    values = np.frombuffer(clean.PixelData, dtype=np.dtype(f"{order}u{allocated // 8}"))
    low = int(dataset.get("HighBit", stored - 1)) - stored + 1
    clean.PixelData = (values & values.dtype.type(((1 << stored) - 1) << max(0, low))).tobytes()


def _groups() -> range:
    return range(_FIRST, _LAST + 1, 2)
