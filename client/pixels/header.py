"""The Image Pixel module (PS3.3 C.7.6.3) of one file, read once, checked against the limits, and typed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from .limits import DEFAULT_LIMITS, Limits
from .unreadable import UnreadableError, first_line

PIXEL_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a file says its pixels are. Bits in `allocated` and `stored`; `syntax` is the transfer syntax UID."""

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    floating: bool
    photometric: str
    syntax: str

    @property
    def frame_bits(self) -> int:
        """Size of one decoded frame in bits."""
        return self.rows * self.columns * self.samples * self.allocated


def image_header(dataset: Dataset, limits: Limits = DEFAULT_LIMITS) -> ImageHeader:
    """Read and check the pixel description. Raises `UnreadableError`: no-pixels, bad-header, too-large."""
    held = [name for name in PIXEL_ELEMENTS if name in dataset]
    if not held:
        raise UnreadableError("no-pixels", _why_no_pixels(dataset))
    floating = held[0] != "PixelData"
    rows = whole(dataset, "Rows", 1, 65535)
    columns = whole(dataset, "Columns", 1, 65535)
    allocated = whole(dataset, "BitsAllocated", 1, 64)
    header = ImageHeader(
        rows=rows,
        columns=columns,
        frames=whole(dataset, "NumberOfFrames", 1, 2**31 - 1, default=1),
        samples=whole(dataset, "SamplesPerPixel", 1, 4, default=1),
        allocated=allocated,
        stored=allocated if floating else whole(dataset, "BitsStored", 1, allocated, default=allocated),
        signed=not floating and whole(dataset, "PixelRepresentation", 0, 1, default=0) == 1,
        floating=floating,
        photometric=text(dataset, "PhotometricInterpretation") or "MONOCHROME2",
        syntax=str(dataset.file_meta.TransferSyntaxUID),
    )
    if max(rows, columns) > limits.side:
        raise UnreadableError("too-large", f"{rows} x {columns} pixels, with at most {limits.side} allowed on a side")
    if header.frames > limits.frames:
        raise UnreadableError("too-large", f"{header.frames} frames, with at most {limits.frames} allowed")
    if header.frame_bits > limits.frame_bytes * 8:
        raise UnreadableError(
            "too-large", f"one frame takes {header.frame_bits // 8} bytes, more than the {limits.frame_bytes} allowed"
        )
    if header.frame_bits * header.frames > limits.decoded_bytes * 8:
        raise UnreadableError(
            "too-large",
            f"all frames take {header.frame_bits * header.frames // 8} bytes, "
            f"more than the {limits.decoded_bytes} allowed",
        )
    if header.samples not in (1, 3):
        raise UnreadableError("bad-header", f"SamplesPerPixel is {header.samples}; images have 1 or 3")
    return header


def _why_no_pixels(dataset: Dataset) -> str:
    if "Rows" in dataset:
        return "the header describes an image, but the file holds no pixels (stripped, or cut off before them)"
    sop_class = dataset.get("SOPClassUID")
    name = getattr(sop_class, "name", "")
    return f"the file holds no pixels ({name})" if name else "the file holds no pixels"


def value(dataset: Dataset, keyword: str) -> Any:
    """An element's value, or None when absent or empty. pydicom converts on access, so a bad value fails here."""
    try:
        found = dataset.get(keyword)
    except RecursionError:
        raise UnreadableError("too-deep", f"{keyword} is nested too deeply to be read") from None
    except Exception as error:
        raise UnreadableError("bad-header", f"{keyword} cannot be read ({first_line(error)})") from error
    return None if found is None or (isinstance(found, str) and not found.strip()) else found


def text(dataset: Dataset, keyword: str, longest: int = 256) -> str:
    """A text element stripped of padding and control characters; the first value when there are several."""
    found = value(dataset, keyword)
    if found is None:
        return ""
    if not isinstance(found, str) and hasattr(found, "__getitem__") and len(found):
        found = found[0]
    plain = "".join(character for character in str(found) if character.isprintable()).strip()
    return plain[:longest]


def whole(dataset: Dataset, keyword: str, low: int, high: int, default: int | None = None) -> int:
    """An integer element inside [low, high]; `default` when absent. Raises `UnreadableError` (bad-header)."""
    found = value(dataset, keyword)
    if found is None:
        if default is None:
            raise UnreadableError("bad-header", f"the header has no {keyword}")
        return default
    try:
        number = int(found)
    except (TypeError, ValueError, OverflowError):
        raise UnreadableError("bad-header", f"{keyword} is not one whole number") from None
    if not low <= number <= high:
        raise UnreadableError("bad-header", f"{keyword} is {number}, outside {low} to {high}")
    return number


def real(dataset: Dataset, keyword: str) -> float | None:
    """A decimal element's first value as a finite float, or None when absent, unreadable or not finite."""
    try:
        found = value(dataset, keyword)
        if found is None:
            return None
        if not isinstance(found, str) and hasattr(found, "__getitem__"):
            if not len(found):
                return None
            found = found[0]
        number = float(found)
    except (UnreadableError, TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
