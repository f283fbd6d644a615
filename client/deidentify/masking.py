"""Places of an image set to black, in every frame, whatever the encoding: the masked file's pixels are native."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from ..pixels import ImageHeader, Limits, UnreadableError, stored_frame
from .burned_in import Place

_MIDDLE_CHROMA = 128


def mask(dataset: Dataset, clean: Dataset, header: ImageHeader, places: Sequence[Place], limits: Limits) -> None:
    """Write into `clean` the pixels of `dataset` with `places` blackened in all frames.

    Raises UnreadableError burned-in-text for pixels that cannot be written again (bits, floating point, or more
    bytes uncompressed than a file may have), and as `stored_frame` for frames that do not decode.
    """
    if header.floating or header.allocated not in (8, 16):
        raise UnreadableError("burned-in-text", "text is suspected in its pixels, which cannot be masked in their form")
    if header.frames * header.frame_bits // 8 > limits.file_bytes:
        raise UnreadableError("burned-in-text", "text is suspected in its pixels, which are too many to be masked")
    frames: list[bytes] = []
    space = header.photometric
    for number in range(header.frames):
        stored, space = stored_frame(dataset, header, number, limits)
        masked = np.array(stored)
        black = _black(masked, space)
        for x0, y0, x1, y1 in places:
            masked[y0:y1, x0:x1] = black
        frames.append(masked.astype(masked.dtype.newbyteorder("<")).tobytes())
    syntax = UID(header.syntax)
    if syntax.is_encapsulated or not syntax.is_little_endian:
        clean.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    clean.PhotometricInterpretation = "YBR_FULL" if space == "YBR_FULL_422" else space
    if header.samples > 1:
        clean.PlanarConfiguration = 0
    pixels = b"".join(frames)
    clean.PixelData = pixels + b"\0" * (len(pixels) % 2)
    clean["PixelData"].VR = "OB" if header.allocated == 8 else "OW"
    clean["PixelData"].is_undefined_length = False


def _black(frame: NDArray[np.generic], space: str) -> NDArray[np.generic]:
    """The stored value, or the three samples, that are shown darkest."""
    if frame.ndim == 3:
        dark = [0, _MIDDLE_CHROMA, _MIDDLE_CHROMA] if space.startswith("YBR") else [0, 0, 0]
        return np.array(dark, frame.dtype)
    return np.array(frame.max() if space == "MONOCHROME1" else frame.min())
