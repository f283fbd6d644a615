"""Frames for the viewer: stored values untouched, tables to the bit, one message for all."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from dicom_files import dicom
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medquorum.client.desk.frames import eight_bits, message, payload, read_frame, window_table
from medquorum.client.pixels import render

TWELVE_BITS = np.random.default_rng(1).integers(0, 4096, (30, 20)).astype(np.uint16)


def parsed(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A message read back as the page reads it."""
    length = int.from_bytes(data[:4], "little")
    head, at = json.loads(data[4 : 4 + length]), 4 + length
    arrays: dict[str, np.ndarray] = {}
    for name, kind, entries in head["arrays"]:
        assert at % 8 == 0
        arrays[name] = np.frombuffer(data, np.dtype(kind).newbyteorder("<"), entries, at)
        at += -(-arrays[name].nbytes // 8) * 8
    assert at == len(data)
    return head, arrays


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": "2000", "WindowWidth": "3000"},
        {"WindowCenter": "2000", "WindowWidth": "3000", "PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": "40", "WindowWidth": "400", "RescaleSlope": "0.5", "RescaleIntercept": "-1024"},
        {"WindowCenter": "2000.25", "WindowWidth": "999.5", "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": "2000", "WindowWidth": "3000", "PixelPaddingValue": int(TWELVE_BITS[3, 3])},
        {"WindowCenter": "2000", "WindowWidth": "1"},
    ],
    ids=["plain", "monochrome1", "rescaled", "exact", "padding", "step"],
)
def test_the_file_s_own_window_set_by_hand_gives_the_file_s_own_table(elements: dict[str, Any]) -> None:
    frame = read_frame(dicom(TWELVE_BITS, **elements), "dicom", 0)
    assert np.array_equal(frame.stored, TWELVE_BITS)
    head, arrays = parsed(payload(frame, "DX"))
    table = window_table(frame, head["window"]["center"], head["window"]["width"])
    assert np.array_equal(table, arrays["table"])
    assert np.array_equal(arrays["pixels"].reshape(30, 20), TWELVE_BITS)
    # The picture is the one that proposing and training look at.
    shown = render(dicom(TWELVE_BITS, **elements), "dicom").image
    assert np.max(np.abs(arrays["table"][TWELVE_BITS.astype(int) - head["low"]] / 255.0 - shown)) <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("elements", [{}, {"VOILUTFunction": "SIGMOID", "WindowCenter": "9", "WindowWidth": "5"}])
def test_a_display_without_a_linear_window_comes_as_a_table_and_a_window_near_it(elements: dict[str, Any]) -> None:
    frame = read_frame(dicom(TWELVE_BITS, **elements), "dicom", 0)
    head, arrays = parsed(payload(frame, "DX"))
    assert np.array_equal(arrays["table"], eight_bits(frame.shown))
    assert head["window"]["width"] > 0
    assert [preset["name"] for preset in head["presets"]] == ["full", "middle", "dense", "lucent"]
    assert all(preset["width"] > 0 for preset in head["presets"])


def test_hounsfield_presets_are_for_ct() -> None:
    frame = read_frame(dicom(TWELVE_BITS, RescaleSlope="1", RescaleIntercept="-1024"), "dicom", 0)
    presets = {preset["name"]: preset["center"] for preset in parsed(payload(frame, "CT"))[0]["presets"]}
    assert presets == {"lung": -600, "soft": 40, "bone": 400, "brain": 40}


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16])
def test_signed_and_narrow_values_stay_as_they_are(kind: type) -> None:
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    pixels = np.random.default_rng(2).integers(low, high, (9, 7), endpoint=True).astype(kind)
    _, arrays = parsed(payload(read_frame(dicom(pixels), "dicom", 0), "DX"))
    assert np.array_equal(arrays["pixels"].reshape(9, 7), pixels)


def test_colours_come_as_grey_and_say_so() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    frame = read_frame(dicom(rgb), "dicom", 0)
    assert not frame.exact
    assert frame.stored.dtype == np.uint16


@pytest.mark.parametrize(("mode", "kind", "top"), [("L", np.uint8, 255), ("I;16", np.uint16, 65535)])
def test_png_values_come_back(mode: str, kind: type, top: int) -> None:
    pixels = np.random.default_rng(4).integers(0, top, (12, 5), endpoint=True).astype(kind)
    pixels[0, :2] = 0, top
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    frame = read_frame(target.getvalue(), "png", 0)
    assert np.array_equal(frame.stored, pixels), mode
    assert frame.stored.dtype == kind


@given(st.floats(-5000, 5000), st.floats(1e-3, 9000), st.booleans())
def test_every_window_gives_levels_that_rise_or_fall(center: float, width: float, inverted: bool) -> None:
    table = window_table(read_frame(dicom(TWELVE_BITS), "dicom", 0), center, width, inverted).astype(int)
    steps = np.diff(table)
    assert (steps <= 0).all() if inverted else (steps >= 0).all()


@given(st.lists(st.sampled_from(["u1", "i1", "u2", "i2", "f8"]), max_size=4), st.integers(0, 9), st.text(max_size=40))
def test_a_message_is_read_back(kinds: list[str], size: int, text: str) -> None:
    arrays = {f"a{place}": np.arange(size + place).astype(kind) for place, kind in enumerate(kinds)}
    head, back = parsed(message({"text": text}, arrays))
    assert head["text"] == text
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
