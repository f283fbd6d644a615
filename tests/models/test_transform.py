"""The geometry is one affine map, used three ways, and it is exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.models.card import InputTransform
from medquorum.models.errors import ImageError
from medquorum.models.transform import placement, prepare, prepare_mask, restore_map

sides = st.integers(1, 300)
sizes = st.sampled_from([32, 64, 96, 128, 192])


def plain(size: int) -> InputTransform:
    return InputTransform(size, 0.0, 1.0)


@given(sides, sides, sizes)
def test_the_image_lies_inside_the_square_and_its_longer_side_fills_it(rows: int, columns: int, size: int) -> None:
    place = placement(rows, columns, plain(size))
    assert max(place.height, place.width) == size
    assert min(place.height, place.width) >= 1
    assert 0 <= place.top <= size - place.height
    assert 0 <= place.left <= size - place.width
    assert abs(2 * place.top + place.height - size) <= 1
    assert abs(2 * place.left + place.width - size) <= 1
    shorter = min(rows, columns) * size / max(rows, columns)
    assert abs(min(place.height, place.width) - shorter) <= max(0.5, 1.0 - shorter) + 1e-9


@given(sides, sides, sizes, st.floats(0.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_a_flat_image_stays_flat_and_its_padding_black(rows: int, columns: int, size: int, level: float) -> None:
    found = prepare(np.full((rows, columns), level, np.float32), InputTransform(size, 0.25, 0.5))
    place = placement(rows, columns, plain(size))
    assert found.shape == (1, size, size)
    assert found.dtype == np.float32
    inside = np.zeros((size, size), bool)
    inside[place.top : place.top + place.height, place.left : place.left + place.width] = True
    assert np.allclose(found[0][inside], (level - 0.25) / 0.5, atol=1e-5)
    assert np.allclose(found[0][~inside], -0.5)


def test_an_image_of_the_right_size_is_only_standardised() -> None:
    image = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    assert np.array_equal(prepare(image, plain(64))[0], image)


@pytest.mark.parametrize("shape", [(640, 480), (2000, 2500), (70, 50), (31, 57)])
def test_a_ramp_keeps_its_place_to_a_twentieth_of_a_pixel(shape: tuple[int, int]) -> None:
    # A pixel of the input must hold the ramp's value at the stored coordinate that the geometry says.
    rows, columns = shape
    transform = plain(128)
    ramp = np.repeat(((np.arange(rows) + 0.5) / rows)[:, None], columns, axis=1).astype(np.float32)
    place = placement(rows, columns, transform)
    column = prepare(ramp, transform)[0][:, place.left + place.width // 2][place.top : place.top + place.height]
    expected = (np.arange(place.height) + 0.5) / place.height
    inner = slice(3, -3)
    assert np.abs(column - expected)[inner].max() * place.height < 0.05


def test_reducing_a_fine_grating_averages_it() -> None:
    image = (np.indices((1024, 1024)).sum(axis=0) % 2).astype(np.float32)
    found = prepare(image, plain(64))[0]
    assert np.abs(found - 0.5).max() < 0.02


@given(sides, sides, sizes, st.integers(1, 24), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_masks_area_is_kept_exactly(rows: int, columns: int, size: int, cells: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.3
    place = placement(rows, columns, plain(size))
    grid = prepare_mask(mask, plain(size), cells, cells)
    assert grid.shape == (cells, cells)
    assert grid.min() >= 0.0
    assert grid.max() <= 1.0
    area_in_input = mask.mean() * place.height * place.width
    assert grid.sum() * (size / cells) ** 2 == pytest.approx(area_in_input, rel=1e-4, abs=1e-3)


def test_a_mask_over_one_cell_covers_that_cell_alone() -> None:
    mask = np.zeros((64, 32), bool)
    mask[8:16, 0:8] = True  # the image lies at columns 16 to 48 of the square: cell (1, 2) of 8 x 8
    grid = prepare_mask(mask, plain(64), 8, 8)
    assert grid[1, 2] == 1.0
    assert grid.sum() == pytest.approx(1.0)


@given(st.integers(8, 300), st.integers(8, 300), sizes, st.integers(2, 24))
@settings(max_examples=60, deadline=None)
def test_restoring_inverts_the_geometry(rows: int, columns: int, size: int, cells: int) -> None:
    # A map that is linear in input coordinates must come back as the same function at stored pixel centres.
    transform = plain(size)
    centres = (np.arange(cells) + 0.5) * size / cells
    linear = (2.0 * centres[:, None] - centres[None, :]).astype(np.float32)
    restored = restore_map(linear, transform, rows, columns)
    assert restored.shape == (rows, columns)
    place = placement(rows, columns, transform)
    y = place.top + (np.arange(rows) + 0.5) * place.height / rows
    x = place.left + (np.arange(columns) + 0.5) * place.width / columns
    half = 0.5 * size / cells
    inner = ((y >= half) & (y <= size - half))[:, None] & ((x >= half) & (x <= size - half))[None, :]
    expected = 2.0 * y[:, None] - x[None, :]
    assert np.abs(restored - expected)[inner].max(initial=0.0) < 1e-2 * size / 32


@given(st.integers(30, 200), st.integers(30, 200), st.data())
@settings(max_examples=50, deadline=None)
def test_a_region_comes_back_where_it_was(rows: int, columns: int, data: st.DataObject) -> None:
    transform, cells = plain(128), 16
    side = min(rows, columns) // 3
    top, left = data.draw(st.integers(0, rows - side)), data.draw(st.integers(0, columns - side))
    mask = np.zeros((rows, columns), bool)
    mask[top : top + side, left : left + side] = True
    restored = restore_map(prepare_mask(mask, transform, cells, cells), transform, rows, columns)
    weights = restored / restored.sum()
    cell = max(rows, columns) / cells
    assert abs((weights.sum(axis=1) * (np.arange(rows) + 0.5)).sum() - (top + side / 2)) < cell / 2
    assert abs((weights.sum(axis=0) * (np.arange(columns) + 0.5)).sum() - (left + side / 2)) < cell / 2


def test_a_map_of_one_cell_is_flat() -> None:
    assert np.array_equal(restore_map(np.full((1, 1), 3.0, np.float32), plain(64), 5, 7), np.full((5, 7), 3.0))


def test_what_is_not_an_image_is_refused() -> None:
    with pytest.raises(ImageError, match="one grey frame"):
        prepare(np.zeros((3, 4, 5), np.float32), plain(64))
    with pytest.raises(ImageError, match="0 x 5"):
        prepare(np.zeros((0, 5), np.float32), plain(64))
    for value in (np.nan, np.inf):
        image = np.zeros((200, 200), np.float32)
        image[77, 3] = value
        with pytest.raises(ImageError, match="not finite"):
            prepare(image, plain(64))
