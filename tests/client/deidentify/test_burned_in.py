"""Text in the pixels: found where it is plain to see, masked in every frame and encoding, or kept out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import dataset, written
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.uid import JPEG2000Lossless, RLELossless

from medquorum.client.deidentify import Deidentification, Keys, Profile, deidentify, file_bytes
from medquorum.client.deidentify.burned_in import suspected_text
from medquorum.client.deidentify.masking import mask
from medquorum.client.gate import InProcess
from medquorum.client.intake import import_dicom
from medquorum.client.pixels import DEFAULT_LIMITS, Limits, UnreadableError, image_header, open_dicom, stored_frame
from medquorum.client.store import Store

KEYS = Keys(bytes(32))
PLACE = (3, 2, 9, 6)


def written_on(rows: int = 256, columns: int = 320) -> NDArray[np.uint8]:
    grey = np.random.default_rng(3).normal(60, 8, (rows, columns)).clip(1, 255).astype(np.uint8)
    image = Image.fromarray(grey)
    ImageDraw.Draw(image).text((20, 30), "SMITHSON JOHN 1960", fill=255, font=ImageFont.load_default(22))
    return np.array(image)


def how(policy: str) -> Deidentification:
    return Deidentification(Profile(burned_in_text=policy), KEYS)  # pyright: ignore[reportArgumentType]


def test_text_that_is_plain_to_see_is_suspected_and_its_absence_is_not() -> None:
    plain = written_on().astype(np.float32) / np.float32(255.0)
    places = suspected_text([plain])
    covered = np.zeros(plain.shape, bool)
    for x0, y0, x1, y1 in places:
        covered[y0:y1, x0:x1] = True
    bright = plain > 0.6
    assert bright.sum() > 300 and not (bright & ~covered).any()
    assert covered.mean() < 0.2
    assert suspected_text([np.where(bright, np.float32(0.23), plain), plain[:8, :8]]) == ()


def test_masked_files_hold_no_text_and_refused_ones_wait_for_a_person(store: Store, tmp_path: Path) -> None:
    ward = tmp_path / "ward"
    ward.mkdir()
    (ward / "a.dcm").write_bytes(written(dataset(written_on())))
    Profile(burned_in_text="mask").write(tmp_path / "deidentification.toml")
    report = import_dicom(store, ward, InProcess())
    assert (report.imported, report.masked) == (1, 1)
    (row,) = store.instances()
    kept = open_dicom(store.content(row.id))
    pixels = np.frombuffer(kept.PixelData, np.uint8).reshape(256, 320)
    assert pixels.max() < 150 and pixels[200, 100] == written_on()[200, 100]
    examined = InProcess().examine(written(dataset(written_on())), how("none"))
    assert examined.masked == 0 and b"\xff" in open_dicom(examined.content).PixelData
    with pytest.raises(UnreadableError, match="suspected") as refused:
        InProcess().examine(written(dataset(written_on())), how("quarantine"))
    assert refused.value.code == "burned-in-text"


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1", "RGB", "YBR_FULL"])
@pytest.mark.parametrize("syntax", ["native", "rle", "jpeg2000"])
def test_places_are_blackened_in_every_frame_and_nothing_else_changes(photometric: str, syntax: str) -> None:
    shape = (3, 64, 70) if photometric.startswith("MONO") else (2, 64, 70, 3)
    frames = np.random.default_rng(1).integers(1, 255, shape).astype(np.uint8)
    made = dataset(frames[0], NumberOfFrames=shape[0], PixelData=frames.tobytes())
    made.PhotometricInterpretation = photometric
    if syntax != "native":
        if syntax == "jpeg2000" and photometric == "YBR_FULL":
            pytest.skip("JPEG 2000 has no YBR_FULL")
        made.compress({"rle": RLELossless, "jpeg2000": JPEG2000Lossless}[syntax], generate_instance_uid=False)
    source = open_dicom(written(made))
    header = image_header(source)
    clean = deidentify(source, Profile(), KEYS).dataset
    mask(source, clean, header, [PLACE], DEFAULT_LIMITS)
    again = open_dicom(file_bytes(clean))
    x0, y0, x1, y1 = PLACE
    for number in range(shape[0]):
        before, space = stored_frame(source, header, number)
        after, space_after = stored_frame(again, image_header(again), number)
        expected = np.array(before)
        if photometric == "MONOCHROME1":
            expected[y0:y1, x0:x1] = before.max()
        elif photometric == "MONOCHROME2":
            expected[y0:y1, x0:x1] = before.min()
        else:
            expected[y0:y1, x0:x1] = [0, 128, 128] if photometric == "YBR_FULL" else [0, 0, 0]
        np.testing.assert_array_equal(after, expected)
        assert space_after == space


def test_pixels_that_cannot_be_masked_are_kept_out() -> None:
    source = open_dicom(written(dataset(np.zeros((20, 30), np.uint16))))
    clean = deidentify(source, Profile(), KEYS).dataset
    with pytest.raises(UnreadableError, match="too many"):
        mask(source, clean, image_header(source), [PLACE], Limits(file_bytes=1000))
