"""The display pipeline, against the formulas of PS3.3 C.11 and against pydicom's own functions."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_files import dataset
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from medquorum.client.pixels import GreyPipeline, Linear, LookupTable, UnreadableError, Window, to_grey
from medquorum.client.pixels.header import image_header
from medquorum.client.pixels.rendering import render_dataset

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def shown(made: Dataset) -> np.ndarray:
    return render_dataset(made, image_header(made)).image


def table(first: int, entries: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = entries
    return item


@given(
    pixels=st.lists(st.integers(-2048, 2047), min_size=6, max_size=6),
    slope=st.sampled_from([1.0, 0.5, -1.0, 2.25]),
    intercept=st.sampled_from([0.0, -1024.0, 10.5]),
    center=st.floats(-500, 500),
    width=st.floats(2, 3000),
    function=st.sampled_from(FUNCTIONS),
    inverted=st.booleans(),
)
def test_rescale_window_and_polarity_agree_with_pydicom(
    pixels: list[int], slope: float, intercept: float, center: float, width: float, function: str, inverted: bool
) -> None:
    stored = np.array(pixels, np.int16).reshape(2, 3)
    made = dataset(
        stored,
        RescaleSlope=f"{slope:.4f}",
        RescaleIntercept=f"{intercept:.4f}",
        WindowCenter=f"{center:.4f}",
        WindowWidth=f"{width:.4f}",
        VOILUTFunction=function,
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
    )
    rescaled = apply_modality_lut(stored, made)
    windowed = apply_voi_lut(rescaled, made)
    # pydicom scales to what the least and the greatest stored value rescale to, in this order whatever the slope.
    least, greatest = (value * slope + intercept for value in (-32768.0, 32767.0))
    expected = (windowed - least) / (greatest - least)
    nothing = len(set(pixels)) > 1 and (expected.max() < 0.5 / 255 or expected.min() > 254.5 / 255)
    assume(not nothing)  # such a window counts as absent: see below
    np.testing.assert_allclose(shown(made), 1 - expected if inverted else expected, atol=1e-5)


def test_monochrome1_is_inverted_exactly_once() -> None:
    pixels = np.array([[0, 100, 255]], np.uint8)
    plain = shown(dataset(pixels))
    inverted = shown(dataset(pixels, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(plain, [[0, 100 / 255, 1]], atol=1e-6)
    np.testing.assert_allclose(inverted, 1 - plain, atol=1e-6)


def test_the_first_of_several_windows_counts() -> None:
    pixels = np.array([[0, 500, 1000]], np.uint16)
    first = shown(dataset(pixels, WindowCenter="500", WindowWidth="1001"))
    both = shown(dataset(pixels, WindowCenter=["500", "50"], WindowWidth=["1001", "10"]))
    np.testing.assert_array_equal(first, both)


@pytest.mark.parametrize("width", ["0", "-5", "NaN"])
def test_an_unusable_window_counts_as_none(width: str) -> None:
    pixels = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    assert np.array_equal(shown(dataset(pixels, WindowCenter="10", WindowWidth=width)), shown(dataset(pixels)))


@pytest.mark.parametrize("center", ["-5000", "60000"])
def test_a_window_that_shows_nothing_of_a_varied_frame_counts_as_none(center: str) -> None:
    pixels = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    made = dataset(pixels, WindowCenter=center, WindowWidth="400")
    assert render_dataset(made, image_header(made)).contrast == "quantiles"
    np.testing.assert_array_equal(shown(made), shown(dataset(pixels)))


def test_a_window_on_float_pixels_has_no_steps_of_whole_numbers() -> None:
    made = dataset(np.zeros((1, 3), np.uint16), PixelData=None, WindowCenter="0.5", WindowWidth="1", BitsAllocated=32)
    del made.BitsStored, made.HighBit, made.PixelRepresentation
    made.FloatPixelData = np.array([[0.0, 0.25, 1.0]], "<f4").tobytes()
    np.testing.assert_allclose(shown(made), [[0, 0.25, 1]], atol=1e-6)


def test_a_voi_table_is_preferred_and_scaled_to_its_own_bits() -> None:
    pixels = np.array([[9, 10, 11, 12, 13]], np.uint16)
    made = dataset(pixels, VOILUTSequence=[table(10, [0, 2048, 4095], 12)], WindowCenter="3", WindowWidth="4")
    np.testing.assert_allclose(shown(made), np.array([[0, 0, 2048, 4095, 4095]]) / 4095, atol=1e-6)


def test_a_modality_table_replaces_the_rescale() -> None:
    pixels = np.array([[0, 1, 2, 3]], np.uint16)
    made = dataset(pixels, ModalityLUTSequence=[table(1, [10, 20, 255], 8)], RescaleSlope="7", RescaleIntercept="7")
    np.testing.assert_allclose(shown(made), np.array([[10, 10, 20, 255]]) / 255, atol=1e-6)


def test_a_table_for_signed_values_starts_below_zero() -> None:
    pixels = np.array([[-3, -2, -1, 0]], np.int16)
    made = dataset(pixels, VOILUTSequence=[table(0, [0, 1, 255], 8)])
    made.VOILUTSequence[0].LUTDescriptor = [3, 65534, 8]  # -2 as an unsigned 16-bit number
    np.testing.assert_allclose(shown(made), np.array([[0, 0, 1, 255]]) / 255, atol=1e-6)


def test_a_table_that_holds_less_than_it_declares_is_refused() -> None:
    item = table(0, [1, 2, 3], 8)
    item.LUTDescriptor = [300, 0, 8]
    with pytest.raises(UnreadableError, match="declares 300 entries") as caught:
        shown(dataset(VOILUTSequence=[item]))
    assert caught.value.code == "bad-header"


def test_padding_is_black_and_does_not_set_the_contrast() -> None:
    pixels = np.full((40, 50), 1000, np.int16)
    pixels[:, :25] = -32768
    pixels[:20, 25:] = 500
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        made = dataset(pixels, PhotometricInterpretation=photometric)
        made.add_new(0x00280120, "SS", -32768)
        image = shown(made)
        assert (image[:, :25] == 0).all()
        assert set(np.unique(image[:, 25:])) == {0.0, 1.0}


def test_without_a_window_a_few_bright_pixels_do_not_darken_the_rest() -> None:
    pixels = np.linspace(100, 1100, 10_000).astype(np.uint16).reshape(100, 100)
    pixels[0, :5] = 65535
    image = shown(dataset(pixels))
    assert 0.45 < np.median(image) < 0.55
    assert image[0, 0] == 1.0


def test_bits_above_bits_stored_are_ignored() -> None:
    """Retired overlays, and junk, live there (PS3.5 section 8.1.1)."""
    clean = np.array([[0, 1, 2047, 4095]], np.uint16)
    junk = clean | 0xA000
    window = {"BitsStored": 12, "HighBit": 11, "WindowCenter": "2048", "WindowWidth": "4096"}
    np.testing.assert_array_equal(shown(dataset(junk, **window)), shown(dataset(clean, **window)))


def test_signed_values_of_twelve_bits_are_extended() -> None:
    pixels = np.array([[-2048, -1, 0, 2047]], np.int16)
    window = {"BitsStored": 12, "HighBit": 11, "WindowCenter": "0", "WindowWidth": "4096"}
    bare = (pixels.view(np.uint16) & 0x0FFF).view(np.int16)
    np.testing.assert_array_equal(shown(dataset(bare, **window)), shown(dataset(pixels, **window)))


def test_frames_have_windows_of_their_own() -> None:
    stored = np.array([[[0, 100]], [[0, 100]]], np.uint16)
    made = dataset(stored[0], NumberOfFrames=2)
    made.PixelData = stored.tobytes()
    frames: list[Dataset] = []
    for width in (101, 401):
        window, item = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = "50", str(width)
        item.FrameVOILUTSequence = [window]
        frames.append(item)
    made.PerFrameFunctionalGroupsSequence = frames
    header = image_header(made)
    first, second = (render_dataset(made, header, frame).image for frame in (0, 1))
    assert first[0, 1] == pytest.approx(1.0)
    assert second[0, 1] == pytest.approx((100 - 49.5) / 400 + 0.5)


def test_colour_becomes_luminance_and_y_is_luminance() -> None:
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_allclose(shown(dataset(rgb)), [[0.299, 0.587, 0.114, 1.0]], atol=1e-6)
    np.testing.assert_allclose(
        shown(dataset(rgb, PhotometricInterpretation="YBR_FULL")), np.array([[255, 0, 0, 255]]) / 255, atol=1e-6
    )


def test_a_palette_is_looked_up() -> None:
    made = dataset(np.array([[0, 1, 2]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for colour, values in (("Red", [0, 255, 0]), ("Green", [0, 255, 255]), ("Blue", [0, 255, 0])):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [3, 0, 8])
        setattr(made, f"{colour}PaletteColorLookupTableData", bytes(values) + b"\0")
    made.RedPaletteColorLookupTableDescriptor = made.GreenPaletteColorLookupTableDescriptor = [4, 0, 8]
    made.BluePaletteColorLookupTableDescriptor = [4, 0, 8]
    np.testing.assert_allclose(shown(made), [[0, 1, 0.587]], atol=1e-6)


@given(st.sampled_from(FUNCTIONS), st.floats(-1e6, 1e6), st.floats(1, 1e6), st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_a_window_stays_in_range_and_never_falls(
    function: str, center: float, width: float, values: list[float]
) -> None:
    ordered = np.sort(np.array(values))
    out = Window(center, width, function)(ordered)  # pyright: ignore[reportArgumentType]
    assert out.min() >= 0 and out.max() <= 1
    assert (np.diff(out) >= 0).all()


@given(st.integers(1, 300), st.integers(-32768, 31_000), st.booleans())
def test_looking_up_equals_computing(count: int, low: int, inverted: bool) -> None:
    """Integers of 16 bits go through a table of the values that occur; wider types are computed pixel by pixel."""
    values = np.random.default_rng(count).integers(low, low + 900, (count, 3))
    pipeline = GreyPipeline(Linear(1.5, -3.0), None, inverted, padding=(0.0, 5.0))
    narrow, wide = (to_grey(values.astype(kind), pipeline)[0] for kind in (np.int16, np.int32))
    np.testing.assert_allclose(narrow, wide, atol=1e-6)


def test_float_pixels_that_are_no_number_are_black() -> None:
    pipeline = GreyPipeline(Linear(), None)
    image, _ = to_grey(np.array([[0.0, np.nan, 1.0, np.inf]], np.float32), pipeline)
    np.testing.assert_array_equal(image, [[0, 0, 1, 0]])


def test_a_constant_image_renders() -> None:
    assert (shown(dataset(np.full((4, 4), 7, np.uint16))) == 0).all()


def test_a_lookup_table_clamps_at_its_ends() -> None:
    lut = LookupTable(5, np.array([1.0, 2.0, 3.0]), 255.0)
    np.testing.assert_array_equal(lut(np.array([-1e9, 5.0, 6.0, 1e9])), [1, 1, 2, 3])
