"""PNG and JPEG files to grey: what researchers hold, 8 or 16 bit, grey or colour.

The stored pixels are taken as they are: an EXIF orientation is not applied, because regions are kept in stored-pixel
coordinates and a radiograph's file is not a photograph's.
"""

from __future__ import annotations

from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .grey import luminance
from .limits import DEFAULT_LIMITS, Limits
from .unreadable import UnreadableError, first_line

_SIXTEEN_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})


def raster_encoding(content: bytes) -> Literal["png", "jpeg"]:
    """Tell PNG from JPEG by the bytes, never by the name. Raises `UnreadableError` (empty, not-image)."""
    if not content:
        raise UnreadableError("empty", "the file is empty")
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    raise UnreadableError("not-image", "the file is neither PNG nor JPEG")


def raster_grey(content: bytes, limits: Limits = DEFAULT_LIMITS) -> NDArray[np.float32]:
    """Decode a PNG or JPEG to float32 (rows, columns) in [0, 1]; colours become luminance, alpha is ignored.

    Raises `UnreadableError`: too-large before decoding, undecodable or truncated.
    """
    if len(content) > limits.file_bytes:
        raise UnreadableError("too-large", f"the file has {len(content)} bytes; {limits.file_bytes} are allowed")
    raster_encoding(content)
    try:
        with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
            columns, rows = image.size
            if max(rows, columns) > limits.side or rows * columns * 4 > limits.frame_bytes:
                raise UnreadableError("too-large", f"{rows} x {columns} pixels, with at most {limits.side} on a side")
            return _grey(image)
    except UnreadableError:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableError("too-large", first_line(error)) from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others on broken files
        code = "truncated" if "truncated" in str(error).lower() else "undecodable"
        raise UnreadableError(code, f"the image does not decode ({first_line(error)})") from error


def _grey(image: Image.Image) -> NDArray[np.float32]:
    if image.mode in _SIXTEEN_BIT:
        return np.clip(np.asarray(image, dtype=np.float32) / np.float32(65535.0), 0.0, 1.0)
    if image.mode in ("L", "1", "LA"):
        plane = image if image.mode == "L" else image.convert("L") if image.mode == "1" else image.getchannel("L")
        return np.asarray(plane, dtype=np.float32) / np.float32(255.0)
    return luminance(np.asarray(image.convert("RGB")), 255.0)
