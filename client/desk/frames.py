"""A frame on its way to the viewer: stored values as they are, and all that is needed to show them.

The viewer maps stored values to 8 bits by a table. What the file asks for (its VOI table, a sigmoid, padding, a range
by quantiles) comes as a finished table; windows that the reader sets are computed in the browser by the same double
arithmetic as `window_table`, so that both agree to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..pixels import GreyPipeline, Linear, Window, image_header, open_dicom, render, render_dataset, stored_frame
from ..pixels.display import grey_pipeline
from ..pixels.grey import Floats, grey_table
from .hanging import orientation

Bytes = NDArray[np.uint8]
# Centre and width in Hounsfield units, as they are commonly taught.
_CT = {"lung": (-600.0, 1500.0), "soft": (40.0, 400.0), "bone": (400.0, 1800.0), "brain": (40.0, 80.0)}
_FASTEST = 60.0  # frames a second
# By shares of the pixels, for images whose values have no unit.
_SHARES = {"full": (0.0, 1.0), "middle": (0.005, 0.995), "dense": (0.5, 1.0), "lucent": (0.0, 0.5)}


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """stored: (rows, columns) of an integer type of at most 16 bits. low: the least value. shown: the display value in
    [0, 1] of low and each value above it. exact: False where `stored` is not the file's own values but grey made of
    colours or of wider numbers. orientation: see hanging.orientation. rate: frames a second at which the file asks to
    be played, or 0."""

    stored: NDArray[np.generic]
    low: int
    shown: Floats
    pipeline: GreyPipeline
    contrast: str
    exact: bool
    orientation: tuple[str, str] | None = None
    rate: float = 0.0

    @property
    def values(self) -> Floats:
        """The modality's value of each entry of `shown`."""
        return self.pipeline.modality(self.low + np.arange(len(self.shown), dtype=np.float64))


def read_frame(content: bytes, encoding: str, frame: int) -> Frame:
    """Decode a frame of a "dicom", "png" or "jpeg" file for the viewer. Raises UnreadableError."""
    if encoding != "dicom":
        return _grey(render(content, encoding, frame).image, "full-range")
    return dicom_frame(open_dicom(content), frame)


def dicom_frame(dataset: Dataset, frame: int) -> Frame:
    """Decode a frame of an open file for the viewer. Raises UnreadableError."""
    header = image_header(dataset)
    stored, space = stored_frame(dataset, header, frame)
    if stored.ndim != 2 or space == "PALETTE COLOR" or stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        made = render_dataset(dataset, header, frame)
        found = _grey(made.image, made.contrast)
    else:
        pipeline = grey_pipeline(dataset, header, frame)
        low, shown, contrast = grey_table(stored, pipeline)
        found = Frame(stored, low, shown, pipeline, contrast, True)
    return replace(found, orientation=orientation(dataset, frame), rate=_rate(dataset))


def _rate(dataset: Dataset) -> float:
    """Recommended Display Frame Rate, or else Cine Rate, in (0, 60]; 0 when the file states neither."""
    for keyword in ("RecommendedDisplayFrameRate", "CineRate"):
        try:
            rate = float(dataset.get(keyword) or 0.0)
        except Exception:  # pydicom raises whatever a broken element made it trip over
            continue
        if 0.0 < rate <= _FASTEST:
            return rate
    return 0.0


def _grey(image: NDArray[np.float32], contrast: str) -> Frame:
    """A grey image in [0, 1] as 8 bits where it came from 8 bits, else as 16."""
    wide = image.astype(np.float64)
    eighth = np.rint(wide * 255.0)
    whole = bool(np.all(np.abs(wide * 255.0 - eighth) < 1e-4))
    stored = eighth.astype(np.uint8) if whole else np.rint(wide * 65535.0).astype(np.uint16)
    top = 255.0 if whole else 65535.0
    low, high = int(stored.min()), int(stored.max())
    shown = np.arange(low, high + 1, dtype=np.float64) / top
    pipeline = GreyPipeline(Linear(), Window(top / 2.0, top, "LINEAR_EXACT"), full_range=(0.0, top))
    return Frame(stored, low, shown, pipeline, contrast, whole)


def eight_bits(shown: Floats) -> Bytes:
    """Display values in [0, 1] as 8 bits, halves rounded up: as the viewer does it."""
    return np.floor(shown * 255.0 + 0.5).astype(np.uint8)


def window_table(frame: Frame, center: float, width: float, inverted: bool = False) -> Bytes:
    """The 8-bit value of each entry of the frame's table under a window of the reader's, in modality units.

    inverted: turn the grey scale round. This is the reference for pages/levels.js, operation by operation.
    """
    values, function = frame.values, _function(frame.pipeline)
    if function == "LINEAR_EXACT":
        shown = np.clip((values - center) / width + 0.5, 0.0, 1.0)
    elif width > 1.0:
        shown = np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
    else:
        shown = (values > center - 0.5).astype(np.float64)
    if frame.pipeline.inverted != inverted:
        shown = 1.0 - shown
    padding = frame.pipeline.padding
    if padding is not None:
        stored = frame.low + np.arange(len(values), dtype=np.float64)
        shown[(stored >= padding[0]) & (stored <= padding[1])] = 0.0
    return eight_bits(shown)


def _function(pipeline: GreyPipeline) -> str:
    """LINEAR's corrections belong to files that state such a window; see client/pixels/display.py."""
    linear = isinstance(pipeline.voi, Window) and pipeline.voi.function == "LINEAR"
    return "LINEAR" if linear else "LINEAR_EXACT"


def payload(frame: Frame, modality: str) -> bytes:
    """The frame as one message: see `message`. Arrays: table (8 bit), values (float64, where the modality's transform
    is itself a table), pixels."""
    pipeline = frame.pipeline
    linear = pipeline.modality if isinstance(pipeline.modality, Linear) else None
    presets = _CT if modality == "CT" else _presets(frame)
    head = {
        "rows": frame.stored.shape[0],
        "columns": frame.stored.shape[1],
        "low": frame.low,
        "slope": 1.0 if linear is None else linear.slope,
        "intercept": 0.0 if linear is None else linear.intercept,
        "inverted": pipeline.inverted,
        "padding": pipeline.padding,
        "function": _function(pipeline),
        "contrast": frame.contrast,
        "exact": frame.exact,
        "window": _stated(frame),
        "orientation": frame.orientation,
        "rate": frame.rate,
        "presets": [{"name": name, "center": c, "width": w} for name, (c, w) in presets.items()],
    }
    arrays: dict[str, NDArray[Any]] = {"table": eight_bits(frame.shown)}
    if linear is None:
        arrays["values"] = frame.values
    arrays["pixels"] = np.ascontiguousarray(frame.stored)
    return message(head, arrays)


def message(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """One binary message: the length of its head (uint32, little-endian), the head as JSON padded with spaces, then the
    arrays it lists as [name, type, entries], each padded to a multiple of eight bytes, little-endian."""
    listed = [[name, f"{array.dtype.kind}{array.dtype.itemsize}", int(array.size)] for name, array in arrays.items()]
    text = json.dumps({**head, "arrays": listed}, allow_nan=False).encode()
    text = text.ljust((len(text) + 4 + 7) // 8 * 8 - 4)
    parts = [len(text).to_bytes(4, "little"), text]
    for array in arrays.values():
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        parts += [data, bytes(-len(data) % 8)]
    return b"".join(parts)


def _stated(frame: Frame) -> dict[str, float]:
    """The window that is shown first, as numbers: the file's own, or the range that the table covers."""
    voi = frame.pipeline.voi
    if isinstance(voi, Window) and frame.contrast.startswith("window"):
        return {"center": voi.center, "width": voi.width}
    values = frame.values
    inside = values[(frame.shown > 0.0) & (frame.shown < 1.0)]
    return _spanning(inside if inside.size else values, _function(frame.pipeline))


def _presets(frame: Frame) -> dict[str, tuple[float, float]]:
    counts = np.bincount((frame.stored.astype(np.int32) - frame.low).ravel())
    padding = frame.pipeline.padding
    if padding is not None:
        stored = frame.low + np.arange(len(counts))
        counts[(stored >= padding[0]) & (stored <= padding[1])] = 0
    values, share = frame.values, np.cumsum(counts) / max(1, int(counts.sum()))
    found: dict[str, tuple[float, float]] = {}
    for name, ends in _SHARES.items():
        there = np.nonzero(counts)[0] if ends == (0.0, 1.0) else np.searchsorted(share, np.array(ends))
        window = _spanning(values[np.minimum(there, len(values) - 1)], _function(frame.pipeline))
        found[name] = window["center"], window["width"]
    return found


def _spanning(values: Floats, function: str) -> dict[str, float]:
    """The window from the least to the greatest of some values."""
    if values.size == 0:
        return {"center": 0.0, "width": 1.0}
    low, high = float(values.min()), float(values.max())
    if function == "LINEAR":
        return {"center": (low + high + 1.0) / 2.0, "width": max(1.0, high - low + 1.0)}
    return {"center": (low + high) / 2.0, "width": (high - low) or 1.0}
