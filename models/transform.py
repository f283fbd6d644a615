"""The input transform and its exact geometry: image to network input, mask to map grid, map back to stored pixels.

All three share one affine map between continuous coordinates in which pixel i covers [i, i + 1): stored row y lies
at top + y * height / H of the square input, and grid cell j of h covers [j, j + 1) * size / h of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .card import InputTransform
from .errors import ImageError

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image of rows x columns lies in the square input: its top-left corner and its size there, in pixels."""

    rows: int
    columns: int
    top: int
    left: int
    height: int
    width: int


def placement(rows: int, columns: int, transform: InputTransform) -> Placement:
    """The image's place: its longer side fills the square, it is centred, and no side shrinks below one pixel."""
    if rows < 1 or columns < 1:
        raise ImageError(f"an image of {rows} x {columns} pixels", where="input transform", fix="give a 2-D image")
    scale = transform.size / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    return Placement(rows, columns, (transform.size - height) // 2, (transform.size - width) // 2, height, width)


def prepare(image: Array, transform: InputTransform) -> Array:
    """A grey image (H,W) float32 in [0,1] -> the network's input (1,size,size) float32.

    Resized with an antialiasing triangle filter, after whole-number box reduction where the image is several times
    larger. ImageError when the image is not 2-D or holds values that are not finite.
    """
    if image.ndim != 2:
        raise ImageError(
            f"an array of shape {image.shape}", where="input transform", fix="give one grey frame (rows, columns)"
        )
    place = placement(image.shape[0], image.shape[1], transform)
    resized = image
    if (place.height, place.width) != image.shape:
        picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
        shape = (place.width, place.height)
        resized = np.asarray(picture.resize(shape, Image.Resampling.BILINEAR, reducing_gap=2.0))
    square = np.zeros((transform.size, transform.size), dtype=np.float32)
    square[place.top : place.top + place.height, place.left : place.left + place.width] = resized
    square -= np.float32(transform.mean)
    square /= np.float32(transform.std)
    if not np.isfinite(square).all():
        raise ImageError(
            "the image holds values that are not finite", where="input transform", fix="render it to [0, 1] first"
        )
    return square[np.newaxis]


def prepare_mask(mask: NDArray[np.bool_], transform: InputTransform, h: int, w: int) -> Array:
    """A mask (H,W) -> the share of each grid cell's area that it covers, (h,w) float32 in [0,1], exactly."""
    place = placement(mask.shape[0], mask.shape[1], transform)
    down = _coverage(place.rows, place.top, place.height, transform.size, h)
    across = _coverage(place.columns, place.left, place.width, transform.size, w)
    return np.clip(down @ mask.astype(np.float32) @ across.T, 0.0, 1.0).astype(np.float32)


def restore_map(map: Array, transform: InputTransform, rows: int, columns: int) -> Array:
    """A map (h,w) on the network's grid -> (rows, columns) in stored pixels, bilinear between cell centres."""
    place = placement(rows, columns, transform)
    down = _interpolation(map.shape[0], transform.size, place.top, place.height, rows)
    across = _interpolation(map.shape[1], transform.size, place.left, place.width, columns)
    return (down @ map.astype(np.float32) @ across.T).astype(np.float32)


def _coverage(pixels: int, start: int, extent: int, size: int, cells: int) -> Array:
    """(cells, pixels): the share of each cell's length that each stored pixel covers."""
    edges = start + np.arange(pixels + 1, dtype=np.float64) * extent / pixels
    borders = np.arange(cells + 1, dtype=np.float64) * size / cells
    low = np.maximum(borders[:-1, None], edges[None, :-1])
    high = np.minimum(borders[1:, None], edges[None, 1:])
    return (np.maximum(high - low, 0.0) * cells / size).astype(np.float32)


def _interpolation(cells: int, size: int, start: int, extent: int, pixels: int) -> Array:
    """(pixels, cells): weights of the cells at each stored pixel's centre; the border cells reach to the edge."""
    centres = start + (np.arange(pixels) + 0.5) * extent / pixels
    place = np.clip(centres * cells / size - 0.5, 0.0, cells - 1.0)
    below = np.minimum(place.astype(np.int64), max(cells - 2, 0))
    share = place - below
    weights = np.zeros((pixels, cells), dtype=np.float32)
    index = np.arange(pixels)
    weights[index, below] = 1.0 - share
    if cells > 1:
        weights[index, below + 1] = share
    return weights
