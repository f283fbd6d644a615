"""What a file says about showing its values: modality, VOI, polarity and padding, collected into a GreyPipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from .grey import GreyPipeline, Linear, LookupTable, Window
from .header import ImageHeader, real, text, value
from .limits import DEFAULT_LIMITS, Limits
from .unreadable import UnreadableError


def grey_pipeline(dataset: Dataset, header: ImageHeader, frame: int, limits: Limits = DEFAULT_LIMITS) -> GreyPipeline:
    """Collect the display transforms of one monochrome frame.

    Enhanced objects state them per frame or once for all in functional groups (PS3.3 C.7.6.16.2.9 and .10); those
    come first, then the data set itself. Of several windows or VOI tables the first is used, and a VOI table is
    preferred to a window (C.11.2.1 leaves the choice open). A transform that is unusable (a width that is not
    positive, a value that is no number) counts as absent.
    """
    modality = _modality(dataset, header, frame, limits)
    voi = _voi(dataset, header, frame, limits)
    full_range: tuple[float, float] | None = None
    if isinstance(modality, LookupTable):
        full_range = (0.0, modality.top)
    elif header.stored <= 8 and not header.floating:
        # Eight bits or fewer have been through a display transform already: stretching them again would undo it.
        least = -(2.0 ** (header.stored - 1)) if header.signed else 0.0
        ends = (least, least + 2.0**header.stored - 1.0)
        low, high = sorted(float(end) for end in modality(np.array(ends)))
        full_range = (low, high)
    return GreyPipeline(modality, voi, header.photometric == "MONOCHROME1", _padding(dataset, header), full_range)


def _groups(dataset: Dataset, frame: int, macro: str) -> list[Dataset]:
    """Where a functional group macro may stand for this frame, nearest first, the data set itself last."""
    found: list[Dataset] = []
    for keyword, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = value(dataset, keyword)
        if items is not None and index < len(items):
            inner = value(items[index], macro)
            if inner:
                found.append(inner[0])
    return [*found, dataset]


def _modality(dataset: Dataset, header: ImageHeader, frame: int, limits: Limits) -> Linear | LookupTable:
    tables = value(dataset, "ModalityLUTSequence")
    if tables:
        return _table(tables[0], header.signed, limits)
    for group in _groups(dataset, frame, "PixelValueTransformationSequence"):
        slope, intercept = real(group, "RescaleSlope"), real(group, "RescaleIntercept")
        if slope is not None and slope != 0.0:
            return Linear(slope, intercept or 0.0)
        if intercept is not None:
            return Linear(1.0, intercept)
    return Linear()


def _voi(dataset: Dataset, header: ImageHeader, frame: int, limits: Limits) -> Window | LookupTable | None:
    tables = value(dataset, "VOILUTSequence")
    if tables:
        # Inputs are what the modality step gives, which may be negative even where stored values are not.
        rescaled = "RescaleIntercept" in dataset or "ModalityLUTSequence" in dataset
        return _table(tables[0], header.signed or (rescaled and "ModalityLUTSequence" not in dataset), limits)
    for group in _groups(dataset, frame, "FrameVOILUTSequence"):
        center, width = real(group, "WindowCenter"), real(group, "WindowWidth")
        if center is None or width is None:
            continue
        function = text(group, "VOILUTFunction").upper() or "LINEAR"
        if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            function = "LINEAR"
        if function == "LINEAR" and (header.floating or 0.0 < width < 1.0):
            # LINEAR's corrections of one half and one are steps of whole numbers (C.11.2.1.2.1), and it is undefined
            # below a width of 1; float images carry such windows all the same, and this is what they mean.
            function = "LINEAR_EXACT"
        if width > 0.0:
            return Window(center, width, function)
    return None


def _table(item: Dataset, signed_input: bool, limits: Limits) -> LookupTable:
    """Read a look-up table of C.11.1.1 or C.11.2.1.1: descriptor (entries, first input, bits), then the entries."""
    descriptor: Any = value(item, "LUTDescriptor")
    data: Any = value(item, "LUTData")
    try:
        count, first, bits = (int(part) for part in descriptor)
    except (TypeError, ValueError):
        raise UnreadableError("bad-header", "a look-up table has no usable LUTDescriptor") from None
    count = (count & 0xFFFF) or 65536
    first = ((first & 0xFFFF) ^ 0x8000) - 0x8000 if signed_input else first & 0xFFFF
    if not 8 <= bits <= 16:
        raise UnreadableError("bad-header", f"a look-up table has entries of {bits} bits; 8 to 16 are possible")
    if isinstance(data, bytes | bytearray):
        if len(data) > limits.table_bytes:
            raise UnreadableError("too-large", f"a look-up table of {len(data)} bytes")
        entries = np.frombuffer(data, dtype=np.uint8 if len(data) < 2 * count else np.dtype("<u2"))
    else:
        entries = np.array(data if hasattr(data, "__len__") else [data], dtype=np.int64) & 0xFFFF
        if bits == 8 and len(entries) * 2 == count:  # two 8-bit entries in each word (C.11.1.1.1)
            entries = np.stack([entries & 0xFF, entries >> 8], axis=1).ravel()
    if len(entries) < count:
        raise UnreadableError("bad-header", f"a look-up table declares {count} entries and holds {len(entries)}")
    return LookupTable(first, entries[:count].astype(np.float64), float(2**bits - 1))


def _padding(dataset: Dataset, header: ImageHeader) -> tuple[float, float] | None:
    """Pixel Padding Value (C.7.5.1.1.2) and, with its range limit, the inclusive range of values to be ignored."""
    if header.floating:
        one, limit = real(dataset, "FloatPixelPaddingValue"), real(dataset, "FloatPixelPaddingRangeLimit")
    else:
        one, limit = real(dataset, "PixelPaddingValue"), real(dataset, "PixelPaddingRangeLimit")
        one, limit = _as_stored(one, header), _as_stored(limit, header)
    if one is None:
        return None
    limit = one if limit is None else limit
    return min(one, limit), max(one, limit)


def _as_stored(number: float | None, header: ImageHeader) -> float | None:
    """The padding value as stored values read: its VR is ambiguous (US or SS), so bits above Bits Stored may be set."""
    if number is None:
        return None
    bits = int(number) & ((1 << header.stored) - 1)
    return float(bits - (1 << header.stored) if header.signed and bits >> (header.stored - 1) else bits)
