"""The greyscale display pipeline of PS3.3 C.11: stored value -> modality -> VOI -> [0, 1], as pure functions.

Every step maps one stored value to one display value, so for integers of at most 16 bits the whole chain is computed
once for each value that occurs and then looked up: right for every pixel, and far cheaper than passing over the image
at each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Without a VOI transform the display range is taken between these quantiles of the pixels, so that a marker, a
# collimator edge or a dead detector line does not decide the contrast of the anatomy.
LOW_QUANTILE, HIGH_QUANTILE = 0.005, 0.995


@dataclass(frozen=True, slots=True)
class Linear:
    """Modality rescale (C.11.1.1.2): output = slope x stored + intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, values: Floats) -> Floats:
        return values * self.slope + self.intercept


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A modality or VOI look-up table (C.11.1.1.1, C.11.2.1.1).

    `entries[0]` is the output for the input `first`; inputs below or above the table take its first or last entry.
    `top` is the largest output its bit depth can express.
    """

    first: int
    entries: Floats
    top: float

    def __call__(self, values: Floats) -> Floats:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[index]


@dataclass(frozen=True, slots=True)
class Window:
    """Window centre and width with one of the VOI LUT functions of C.11.2.1.2 and C.11.2.1.3; output in [0, 1]."""

    center: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"

    def __call__(self, values: Floats) -> Floats:
        if self.function == "SIGMOID":
            # Beyond +-60 the logistic function equals 0 or 1 in float64; the clip only avoids overflow in exp.
            steepness = np.clip(-4.0 * (values - self.center) / self.width, -60.0, 60.0)
            return 1.0 / (1.0 + np.exp(steepness))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0.0, 1.0)
        if self.width == 1.0:
            return (values > self.center - 0.5).astype(np.float64)
        return np.clip((values - (self.center - 0.5)) / (self.width - 1.0) + 0.5, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class GreyPipeline:
    """All that turns the stored values of one monochrome frame into display values in [0, 1].

    `voi` None means that the file states no usable one: `full_range` (modality units) is then shown when given,
    else the range between the quantiles LOW_QUANTILE and HIGH_QUANTILE of the frame. `inverted` is true for
    MONOCHROME1, whose lowest value is white. `padding` is an inclusive range of stored values that carry no
    anatomy: they take no part in the quantiles and are shown as 0 (black), whatever the photometric interpretation.
    """

    modality: Linear | LookupTable
    voi: Window | LookupTable | None
    inverted: bool = False
    padding: tuple[float, float] | None = None
    full_range: tuple[float, float] | None = None


def to_grey(stored: NDArray[np.generic], pipeline: GreyPipeline) -> tuple[NDArray[np.float32], str]:
    """Render stored values (H, W) of any integer or float type to float32 (H, W) in [0, 1], 1 being white.

    Also says how the display range was found. A stated VOI transform that shows a varied frame all black or all white
    (it belongs to other units, as real files have it) tells nobody anything: it counts as absent.
    """
    if stored.dtype.kind in "iub" and stored.dtype.itemsize <= 2:
        low, shown, contrast = grey_table(stored, pipeline)
        return shown.astype(np.float32)[stored.astype(np.int32) - low], contrast
    values = stored.astype(np.float64)
    shown, contrast = _display(values, np.ones_like(values), pipeline)
    return shown.astype(np.float32), contrast


def grey_table(stored: NDArray[np.generic], pipeline: GreyPipeline) -> tuple[int, Floats, str]:
    """The least stored value of an integer frame of at most 16 bits, the display value in [0, 1] of it and of each
    value up to the greatest, and how the display range was found."""
    low = int(stored.min())
    counts = np.bincount((stored.astype(np.int32) - low).ravel()).astype(np.float64)
    values = np.arange(low, low + len(counts), dtype=np.float64)
    return (low, *_display(values, counts, pipeline))


def _display(values: Floats, counts: Floats, pipeline: GreyPipeline) -> tuple[Floats, str]:
    """Display values in [0, 1] for stored `values` of which each occurs `counts` times (both of one shape)."""
    blank = ~np.isfinite(values)
    if pipeline.padding is not None:
        blank |= (values >= pipeline.padding[0]) & (values <= pipeline.padding[1])
    inputs = pipeline.modality(np.where(np.isfinite(values), values, 0.0))
    there = ~blank & (counts > 0)
    shown: Floats | None = None
    contrast = ""
    if pipeline.voi is not None:
        scale = pipeline.voi.top if isinstance(pipeline.voi, LookupTable) else 1.0
        shown = np.clip(pipeline.voi(inputs) / scale, 0.0, 1.0)
        contrast = "voi-lut" if isinstance(pipeline.voi, LookupTable) else f"window-{pipeline.voi.function.lower()}"
        if _tells_nothing(shown[there], inputs[there]):
            shown = None
    if shown is None:
        contrast = "quantiles" if pipeline.full_range is None else "full-range"
        low, high = pipeline.full_range or _quantiles(inputs[there], counts[there])
        shown = np.clip((inputs - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(inputs)
    if pipeline.inverted:
        shown = 1.0 - shown
    return np.where(blank, 0.0, shown), contrast


def _tells_nothing(shown: Floats, inputs: Floats) -> bool:
    """Whether differing inputs are all shown as the darkest, or all as the brightest, of 256 levels."""
    if inputs.size == 0 or inputs.min() == inputs.max():
        return False
    return bool(shown.max() < 0.5 / 255.0 or shown.min() > 254.5 / 255.0)


def _quantiles(values: Floats, counts: Floats) -> tuple[float, float]:
    """The display range of `values` weighted by `counts`; (0, 0) when there are none."""
    if values.size == 0:
        return 0.0, 0.0
    order = np.argsort(values, kind="stable")
    values, share = values[order], np.cumsum(counts[order])
    low, high = np.searchsorted(share, np.array([LOW_QUANTILE, HIGH_QUANTILE]) * share[-1])
    if values[low] == values[high]:
        # One value fills nearly the whole frame (a phantom's empty background): show everything that there is.
        return float(values[0]), float(values[-1])
    return float(values[low]), float(values[high])


def luminance(rgb: NDArray[np.generic], top: float) -> NDArray[np.float32]:
    """Luma of red, green and blue planes (..., 3) in [0, top] by ITU-R BT.601, as YBR_FULL defines Y (C.7.6.3.1.2).

    Returns float32 in [0, 1] without the last axis.
    """
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32) / np.float32(top)
    grey = (rgb[..., :3].astype(np.float32) @ weights).astype(np.float32, copy=False)
    return np.clip(grey, np.float32(0.0), np.float32(1.0))
