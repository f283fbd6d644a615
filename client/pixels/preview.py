"""A small grey copy of the first frame, kept beside the original: what proposing and training look at.

A full-size radiograph takes a tenth of a second to decode and the network sees it at a few hundred pixels, again for
every release. The copy is independent of any model: rendered once at intake, at most SIDE pixels long, 8 bits, which
is what a display shows.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .unreadable import UnreadableError

SIDE = 512
PREVIEW = f"preview-{SIDE}"
_HEAD = struct.Struct(">4sHH")
_MAGIC = b"MQP1"


def preview_bytes(image: NDArray[np.float32]) -> bytes:
    """Encode a grey image (H, W) in [0, 1], reduced by area averaging to at most SIDE on its longer side."""
    longest = max(image.shape)
    if longest > SIDE:
        rows, columns = (max(1, round(side * SIDE / longest)) for side in image.shape)
        image = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BOX))
    pixels = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return _HEAD.pack(_MAGIC, *pixels.shape) + pixels.tobytes()


def preview_image(encoded: bytes) -> NDArray[np.float32]:
    """Decode `preview_bytes`: float32 (H, W) in [0, 1]. Raises UnreadableError when the bytes are not one."""
    if len(encoded) >= _HEAD.size:
        magic, rows, columns = _HEAD.unpack_from(encoded)
        if magic == _MAGIC and len(encoded) == _HEAD.size + rows * columns:
            pixels = np.frombuffer(encoded, np.uint8, offset=_HEAD.size).reshape(rows, columns)
            return pixels.astype(np.float32) / np.float32(255.0)
    raise UnreadableError("undecodable", "the kept preview is damaged")
