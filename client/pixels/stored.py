"""Decode one frame to its stored values, exactly as the file encodes them, before any display transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from . import codestream
from .header import PIXEL_ELEMENTS, ImageHeader, value
from .limits import DEFAULT_LIMITS, Limits
from .unreadable import UnreadableError, first_line


def stored_frame(
    dataset: Dataset, header: ImageHeader, frame: int, limits: Limits = DEFAULT_LIMITS
) -> tuple[NDArray[np.generic], str]:
    """Stored values (rows, columns) or (rows, columns, 3) of frame number `frame` (from 0), and their colour space.

    The colour space is the photometric interpretation after decoding: a decoder may undo the transform that a
    codestream carries (JPEG 2000's YBR_ICT and YBR_RCT come out as RGB). Raises `UnreadableError`.
    """
    if not 0 <= frame < header.frames:
        raise UnreadableError("bad-header", f"frame {frame} was asked of an image of {header.frames} frames")
    syntax = UID(header.syntax)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnreadableError("unsupported-syntax", f"no decoder for transfer syntax {syntax.name!r}") from None
    if not decoder.is_available:
        wanted = "; or ".join(decoder.missing_dependencies)
        raise UnreadableError("unsupported-syntax", f"no decoder for {syntax.name!r} is installed ({wanted})")
    if syntax.is_encapsulated:
        _check_codestream(dataset, header, frame)
    else:
        _check_length(dataset, header)
    try:
        array, described = decoder.as_array(dataset, index=frame, raw=True)
    except Exception as error:  # decoders raise anything, and their C parts say little
        if "does not support 'JPEG Extended'" in str(error):
            raise UnreadableError("unsupported-syntax", "12-bit JPEG Extended has no free decoder") from error
        raise UnreadableError("undecodable", f"{syntax.name} does not decode ({_cause(error)})") from error
    if array.shape[:2] != (header.rows, header.columns):
        raise UnreadableError("undecodable", f"the frame decodes to {array.shape}, not as its header says")
    return array, str(described["photometric_interpretation"])


def _cause(error: Exception) -> str:
    """pydicom lists one line for each plug-in it tried after a line that says nothing; keep what they said."""
    _, tried, detail = str(error).partition("available plugins:")
    return first_line(Exception(detail)) if tried else first_line(error)


def _check_length(dataset: Dataset, header: ImageHeader) -> None:
    """A file that was cut off holds fewer bytes than its header asks for: name that, rather than what numpy says."""
    data = value(dataset, next(name for name in PIXEL_ELEMENTS if name in dataset))
    bits = header.frame_bits * header.frames
    if header.photometric == "YBR_FULL_422" and header.samples == 3:
        bits = bits * 2 // 3
    if not isinstance(data, bytes | bytearray) or len(data) * 8 < bits:
        held = len(data) if isinstance(data, bytes | bytearray) else 0
        raise UnreadableError("truncated", f"the pixels take {(bits + 7) // 8} bytes, the file holds {held}")


def _check_codestream(dataset: Dataset, header: ImageHeader, frame: int) -> None:
    """Compare what the compressed frame declares with what the header declares, before a decoder allocates it."""
    data = value(dataset, "PixelData")
    if not isinstance(data, bytes | bytearray) or not data:
        raise UnreadableError("truncated", "the encapsulated pixel data is empty")
    try:
        found = get_frame(data, frame, number_of_frames=header.frames)
    except Exception as error:
        raise UnreadableError("truncated", f"frame {frame} is not where it should be ({first_line(error)})") from error
    stream = codestream.declared(found)
    if stream is None:
        return
    if (stream.rows, stream.columns) != (header.rows, header.columns):
        raise UnreadableError(
            "bad-header",
            f"the compressed frame is {stream.rows} x {stream.columns}, "
            f"the header says {header.rows} x {header.columns}",
        )
    if stream.components not in (1, 3, header.samples):
        raise UnreadableError("bad-header", f"the compressed frame has {stream.components} components")
