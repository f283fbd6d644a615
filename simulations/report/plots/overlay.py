"""One image of the sheet in three pictures: as it is, under its heatmap, and with proposed and true region drawn."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from ...errors import StudyError
from ...results import SheetImage
from . import style

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The longer side of a picture, in pixels: enough for a page, and it bounds what a report weighs.
_SIDE = 256


def pictures(image: SheetImage) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """(grey, heatmap over grey, regions over grey), each (H, W, 3) uint8 with the longer side of 256 pixels.

    Proposed region: filled edge in sky blue; true region: orange. An empty PNG means that there is none.
    Raises StudyError when the bytes are not a PNG.
    """
    grey = _read(image.image, None)
    if grey is None:
        raise StudyError(
            "an image of the sheet is empty", where=image.source, fix="write the study's report again from its run"
        )
    side = grey.shape
    base = np.repeat(grey[:, :, None], 3, axis=2)
    return base, _heat(base, _read(image.heatmap, side)), _regions(base, image, side)


def encode(picture: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an (H, W, 3) uint8 picture."""
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(picture).save(target, format="PNG")
    return target.getvalue()


def _read(data: bytes, shape: tuple[int, ...] | None) -> NDArray[np.uint8] | None:
    """(H, W) grey values, fitted to `shape`, or to the longer side of 256 when None."""
    if not data:
        return None
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
            grey = opened.convert("L")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise StudyError(
            "an image of the sheet is not a PNG", where="sheet", fix="use the report as written"
        ) from error
    if shape is None:
        scale = _SIDE / max(grey.size)
        columns, rows = (max(1, round(length * scale)) for length in grey.size)
    else:
        rows, columns = shape
    return np.asarray(grey.resize((columns, rows), Image.Resampling.BILINEAR), dtype=np.uint8)


def _heat(base: NDArray[np.uint8], heatmap: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    if heatmap is None:
        return base
    import matplotlib

    share = heatmap.astype(np.float64) / 255.0
    colours = matplotlib.colormaps["inferno"](share)[:, :, :3] * 255.0
    # Where the map is cold the image stays as it is: colour only where the model looked.
    alpha = (0.75 * np.sqrt(share))[:, :, None]
    return np.clip(base * (1.0 - alpha) + colours * alpha, 0, 255).astype(np.uint8)


def _regions(base: NDArray[np.uint8], image: SheetImage, side: tuple[int, ...]) -> NDArray[np.uint8]:
    drawn = base.astype(np.float64)
    for data, colour in ((image.proposed, style.PROPOSED), (image.truth, style.TRUTH)):
        mask = _read(data, side)
        if mask is None or not (mask > 127).any():
            continue
        inside = mask > 127
        paint = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], dtype=np.float64)
        drawn[inside] = drawn[inside] * 0.82 + paint * 0.18
        drawn[_edge(inside)] = paint
    return drawn.astype(np.uint8)


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region's own pixels within three of its outside; the picture's border counts as outside."""
    core = inside
    for _ in range(3):
        padded = np.pad(core, 1)
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core
