"""From digits as outlines to images as a scanner would give them: slanted, bent, thick or thin, boxed and centred.

A digit is kept as a map of signed distances to its ink, so that one addition makes its strokes thicker or thinner at
any scale. Images are normalised as handwritten digits commonly are (LeCun et al. 1998): the ink fits a box of about 20
pixels in a field of 28, with its centre of mass in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from .pen import FORMS, shaken

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 28
"""Pixels across an image."""

_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10"),
)
_DOTTED_ZERO = ("DejaVuSansMono", "DejaVuSansMono-Oblique")  # a dot or a slash inside
_FIELD = 96  # pixels across what a digit is drawn into
_VARIANTS = 96  # shaken copies of each digit written with a pen
_PEN_SHARE = 0.75  # of the images; the others come from fonts
_SCOUT = 40  # pixels across the first look, which finds the ink
_BATCH = 2048


def render_digits(digits: Sequence[int], count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`count` images (count, 28, 28) float32 in [0, 1], bright on black, and which of `digits` each shows (count,), by
    its place in the sequence. The same seed gives the same images."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    bank, shows, chances = _bank(np.random.default_rng([seed, 0x9E4]), tuple(digits))
    images = np.empty((count, SIDE, SIDE), np.float32)
    picked = torch.multinomial(chances, max(1, count), replacement=True, generator=generator)[:count]
    for first in range(0, count, _BATCH):
        part = picked[first : first + _BATCH]
        images[first : first + len(part)] = _render(bank[part], generator).numpy()
    return images, shows[picked].numpy()


def _bank(generator: np.random.Generator, digits: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Distance maps (T, 1, field/2, field/2), the digit of each (T,) by its place, and how often each is used (T,)."""
    import torch
    from torch.nn import functional as F

    printed = [(place, each) for place, digit in enumerate(digits) for each in _printed(digit)]
    written = [(place, each) for place, digit in enumerate(digits) for each in _written(digit, generator)]
    shares = np.concatenate(
        [np.full(len(printed), (1.0 - _PEN_SHARE) / len(printed)), np.full(len(written), _PEN_SHARE / len(written))]
    )
    maps = torch.from_numpy(np.stack([each for _, each in printed + written]))[:, None]
    return F.avg_pool2d(maps, 2), torch.tensor([place for place, _ in printed + written]), torch.from_numpy(shares)


@cache
def _printed(digit: int) -> tuple[NDArray[np.float32], ...]:
    """The digit's distance map (field, field) in every font: below zero inside the ink."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont
    from scipy import ndimage

    maps: list[NDArray[np.float32]] = []
    for name in _FONTS:
        if digit == 0 and name in _DOTTED_ZERO:
            continue
        font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), 80)
        picture = Image.new("L", (_FIELD, _FIELD))
        pen = ImageDraw.Draw(picture)
        left, top, right, bottom = pen.textbbox((0, 0), str(digit), font=font)
        pen.text(((_FIELD - left - right) / 2, (_FIELD - top - bottom) / 2), str(digit), fill=255, font=font)
        ink = np.asarray(picture) > 127
        outside = cast(NDArray[np.float64], ndimage.distance_transform_edt(~ink))
        inside = cast(NDArray[np.float64], ndimage.distance_transform_edt(ink))
        maps.append((outside - inside).astype(np.float32))
    return tuple(maps)


def _written(digit: int, generator: np.random.Generator) -> list[NDArray[np.float32]]:
    """Distance maps (field, field) of the digit as a pen writes it."""
    from PIL import Image, ImageDraw
    from scipy import ndimage

    maps: list[NDArray[np.float32]] = []
    for variant in range(_VARIANTS):
        forms = FORMS[digit]
        picture = Image.new("L", (_FIELD, _FIELD))
        pen = ImageDraw.Draw(picture)
        for stroke in forms[variant % len(forms)]:
            line = shaken(stroke, generator.choice([0.02, 0.045, 0.07]), generator) * (0.75 * _FIELD) + 0.125 * _FIELD
            pen.line([(float(x), float(y)) for x, y in line], fill=255, width=1)
        distance = cast(NDArray[np.float64], ndimage.distance_transform_edt(np.asarray(picture) < 128))
        maps.append((distance - 5.0).astype(np.float32))  # a line of eleven pixels
    return maps


def _render(maps: Tensor, generator: object) -> Tensor:
    """Images (B, 28, 28) of distance maps (B, 1, h, w), each changed at random."""
    import torch
    from torch.nn import functional as F

    source = cast(torch.Generator, generator)
    count = maps.shape[0]

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=source)

    def between(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=source) * (high - low) + low

    turn, stretch, slant = 0.12 * normal(), torch.exp(0.18 * normal()), 0.15 + 0.25 * normal()
    rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], dim=1).view(-1, 2, 2)
    shape = torch.stack([stretch, slant, torch.zeros(count), 1.0 / stretch], dim=1).view(-1, 2, 2)
    # From places in the image to places in the map. Half as wide again, so that nothing is cut off in the first look.
    way = 1.5 * rotation @ shape
    coarse = normal(2, 5, 5) * between(0.0, 0.15).view(-1, 1, 1, 1)
    smooth = F.interpolate(torch.eye(5)[None, None], size=(_SCOUT, 5), mode="bicubic", align_corners=True)[0, 0]
    bends = smooth @ coarse @ smooth.T  # as interpolating each would give, in a third of the time
    thickness, softness = between(-3.5, 4.5).view(-1, 1, 1, 1), between(0.5, 1.6).view(-1, 1, 1, 1)

    def look(way: Tensor, middle: Tensor, side: int) -> Tensor:
        # What affine_grid gives, without a product of matrices for each place.
        cells = (torch.arange(side) + 0.5) * (2.0 / side) - 1.0
        places = way[:, None, None, :, 0] * cells[:, None] + way[:, None, None, :, 1] * cells[:, None, None]
        places += middle[:, None, None]
        bent = F.grid_sample(bends, places, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
        distance = F.grid_sample(maps, places + bent, padding_mode="border", align_corners=False)
        return torch.sigmoid((thickness - distance) / softness)[:, 0]

    scout = look(way, torch.zeros(count, 2), _SCOUT)
    across, x = _extent(scout.amax(dim=1), scout.sum(dim=1))
    down, y = _extent(scout.amax(dim=2), scout.sum(dim=2))
    box = between(18.5, 21.0) / SIDE
    scale = torch.maximum(across, down) / box
    middle = torch.stack([x, y], dim=1) + 0.03 * scale[:, None] * normal(2)
    images = look(way * scale.view(-1, 1, 1), (way @ middle[:, :, None])[:, :, 0], SIDE)
    return (images / images.amax(dim=(1, 2), keepdim=True).clamp(min=0.05)).clamp(0.0, 1.0)


def _extent(brightest: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """How much of one axis the ink covers (B,), as a share, and where its centre of mass is (B,), in [-1, 1]."""
    import torch

    side = brightest.shape[1]
    cells = torch.arange(side, dtype=torch.float32)
    inked = brightest > 0.3
    low = torch.where(inked, cells, float(side)).amin(dim=1)
    high = torch.where(inked, cells, -1.0).amax(dim=1)
    centre = ((mass * cells).sum(dim=1) / mass.sum(dim=1).clamp(min=1e-3) + 0.5) / side * 2.0 - 1.0
    return (high - low).clamp(min=3.0).add(1.0) / side, centre
