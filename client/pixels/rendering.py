"""One frame of any file we take in, as a grey image in [0, 1] that a network or a reader can look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from .display import grey_pipeline
from .grey import luminance, to_grey
from .header import ImageHeader, image_header
from .limits import DEFAULT_LIMITS, Limits
from .raster import raster_grey
from .reading import open_dicom
from .stored import stored_frame
from .unreadable import UnreadableError, first_line

Encoding = Literal["dicom", "png", "jpeg"]


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A grey image (rows, columns) float32 in [0, 1], 1 being white, on the grid of the stored pixels.

    `contrast` names how the display range was found: voi-lut, window-linear, window-linear_exact, window-sigmoid,
    full-range, quantiles, or luminance for colour.
    """

    image: NDArray[np.float32]
    rows: int
    columns: int
    contrast: str


def render(content: bytes, encoding: str, frame: int = 0, limits: Limits = DEFAULT_LIMITS) -> Rendered:
    """Decode and render one frame of a "dicom", "png" or "jpeg" file. Raises `UnreadableError` and nothing else."""
    if encoding == "dicom":
        dataset = open_dicom(content, limits)
        return render_dataset(dataset, image_header(dataset, limits), frame, limits)
    image = raster_grey(content, limits)
    return Rendered(image, image.shape[0], image.shape[1], "full-range")


def render_dataset(dataset: Dataset, header: ImageHeader, frame: int = 0, limits: Limits = DEFAULT_LIMITS) -> Rendered:
    """Render one frame of a parsed data set; see `render`."""
    stored, space = stored_frame(dataset, header, frame, limits)
    if stored.ndim == 2 and space == "PALETTE COLOR":
        image, contrast = _palette(dataset, stored), "luminance"
    elif stored.ndim == 2:
        image, contrast = to_grey(stored, grey_pipeline(dataset, header, frame, limits))
    else:
        image, contrast = _colour(stored, space, header), "luminance"
    return Rendered(image, header.rows, header.columns, contrast)


def _colour(stored: NDArray[np.generic], space: str, header: ImageHeader) -> NDArray[np.float32]:
    """Luminance of an RGB or YBR frame; the Y of YBR is the luminance itself, so no colour conversion is needed."""
    top = float(2**header.stored - 1)
    if space == "RGB":
        return luminance(stored, top)
    luma = stored[..., 0].astype(np.float32) / np.float32(top)
    if space.startswith("YBR_PARTIAL"):  # C.7.6.3.1.2: black is 16 of 255, white 235
        luma = (luma * np.float32(255.0) - np.float32(16.0)) / np.float32(219.0)
    elif not space.startswith("YBR"):
        raise UnreadableError("bad-header", f"three samples a pixel with photometric interpretation {space!r}")
    return np.clip(luma, 0.0, 1.0)


def _palette(dataset: Dataset, stored: NDArray[np.generic]) -> NDArray[np.float32]:
    """Luminance of a palette colour frame, looked up once for each stored value that occurs (C.7.6.3.1.5)."""
    if stored.dtype.itemsize > 2:
        raise UnreadableError("bad-header", "a palette image of more than 16 bits a pixel")
    low = int(stored.min())
    offsets = stored.astype(np.int32) - low
    values = np.arange(low, low + int(offsets.max()) + 1).astype(np.int32)
    try:
        colours = apply_color_lut(values, dataset)
        depth = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    except Exception as error:  # pydicom raises KeyError, ValueError, TypeError and others on bad palettes
        raise UnreadableError("bad-header", f"the colour palette cannot be read ({first_line(error)})") from error
    # Eight-bit entries are often kept in 16-bit words, unscaled.
    top = 255.0 if depth == 8 and int(colours.max(initial=0)) <= 255 else float(2 ** (8 * colours.dtype.itemsize) - 1)
    return luminance(colours, top)[offsets]
