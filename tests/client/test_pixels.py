"""Reading files inside limits: whatever the bytes are, they end as an image or as a reason, and the process lives."""

from __future__ import annotations

import csv
import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dataset, dicom, written
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLossless, JPEGLosslessSV1

from medquorum.client.pixels import (
    Limits,
    UnreadableError,
    image_header,
    open_dicom,
    raster_encoding,
    render,
    render_dataset,
    stored_frame,
)
from medquorum.client.pixels.codestream import declared
from medquorum.client.pixels.preview import SIDE, preview_bytes, preview_image

ZOO = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom_zoo"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason=f"the DICOM zoo is not at {ZOO}")
JPEG_LOSSLESS = (JPEGLossless, JPEGLosslessSV1)
PIXELS = np.arange(600, dtype=np.uint16).reshape(20, 30)


def code_of(content: bytes, encoding: str = "dicom", limits: Limits | None = None) -> str:
    with pytest.raises(UnreadableError) as caught:
        render(content, encoding, limits=limits or Limits())
    assert len(str(caught.value)) < 600
    return caught.value.code


def zoo() -> list[dict[str, str]]:
    if not ZOO.is_dir():
        return []
    with (ZOO / "manifest.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def named(rows: list[dict[str, str]]) -> list[object]:
    return [pytest.param(row, id=row["file"]) for row in rows]


# ---- the zoo


@needs_zoo
@pytest.mark.parametrize("row", named([row for row in zoo() if row["px_sha1"]]))
def test_stored_pixels_are_those_of_the_manifest(row: dict[str, str]) -> None:
    """The manifest's SHA-1 is over pydicom's default array: all frames, YBR_FULL(_422) turned into RGB."""
    content = (ZOO / row["file"]).read_bytes()
    opened = open_dicom(content)
    header = image_header(opened)
    if opened.file_meta.TransferSyntaxUID in JPEG_LOSSLESS and not get_decoder(JPEGLossless).is_available:
        assert code_of(content) == "unsupported-syntax"
        pytest.skip("JPEG Lossless needs python-gdcm, which is not installed")
    frames: list[np.ndarray] = []
    for number in range(header.frames):
        frame, space = stored_frame(opened, header, number)
        compressed = opened.file_meta.TransferSyntaxUID.is_encapsulated
        if space in ("YBR_FULL", "YBR_FULL_422") and (compressed or frame.ndim == 3):
            frame = convert_color_space(frame, "YBR_FULL", "RGB")
        frames.append(frame)
    array = np.stack(frames) if header.frames > 1 else frames[0]
    assert str(array.shape) == row["shape"]
    assert hashlib.sha1(np.ascontiguousarray(array).tobytes()).hexdigest() == row["px_sha1"]
    image = render_dataset(opened, header).image
    assert image.shape == (header.rows, header.columns) and image.dtype == np.float32
    assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


@needs_zoo
@pytest.mark.parametrize("row", named([row for row in zoo() if not row["px_sha1"]]))
def test_other_files_render_or_say_why_not(row: dict[str, str]) -> None:
    content = (ZOO / row["file"]).read_bytes()
    try:
        image = render(content, "dicom").image
    except UnreadableError as fault:
        assert fault.code and fault.what and "\n" not in fault.what
        return
    assert row["klass"] in ("mutated", "nopreamble", "malformed")
    assert np.isfinite(image).all()


# ---- files without their header, cut off, or something else


def test_a_file_without_preamble_or_meta_information_reads_the_same() -> None:
    content = dicom(PIXELS)
    body = content[132:]
    (length,) = struct.unpack_from("<I", body, 8)
    for stripped in (body, body[12 + length :]):
        np.testing.assert_array_equal(render(stripped, "dicom").image, render(content, "dicom").image)


def test_what_is_no_dicom_file_is_named() -> None:
    assert code_of(b"") == "empty"
    assert code_of(bytes(5000)) == "empty"
    assert code_of(b"\x89PNG\r\n\x1a\n" + bytes(100)) == "not-dicom"
    assert code_of(b"file,patient\na,b\n") == "not-dicom"
    assert code_of(bytes(128) + b"DICM") == "no-pixels"
    assert code_of(dicom(PIXELS, PixelData=None)) == "no-pixels"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_cut_off_file_is_not_taken_for_whole(share: float) -> None:
    content = dicom(PIXELS)
    assert code_of(content[: int(len(content) * share)]) in ("truncated", "no-pixels", "bad-header")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("Rows", 0), ("Rows", None), ("Columns", 0), ("BitsAllocated", 12), ("BitsStored", 17), ("SamplesPerPixel", 2)],
)
def test_a_header_that_cannot_be_is_refused(keyword: str, value: int | None) -> None:
    assert code_of(dicom(PIXELS, **{keyword: value})) in ("bad-header", "undecodable", "truncated")


def test_a_number_of_five_thousand_digits_is_refused() -> None:
    made = dataset(PIXELS)
    content = written(made)
    made.add_new(0x00280008, "IS", "1")
    short = written(made)
    at = short.index(b"\x28\x00\x08\x00IS")
    digits = b"9" * 5000
    long = short[:at] + b"\x28\x00\x08\x00IS" + struct.pack("<H", len(digits)) + digits + short[at + 10 :]
    assert code_of(long) == "bad-header"
    assert render(content, "dicom").rows == 20


# ---- hostile sizes


def test_a_tiny_file_cannot_ask_for_gigabytes() -> None:
    assert code_of(dicom(PIXELS, Rows=60000, Columns=60000)) == "too-large"
    assert code_of(dicom(PIXELS, NumberOfFrames=2_000_000_000)) == "too-large"
    assert code_of(dicom(PIXELS), limits=Limits(file_bytes=100)) == "too-large"
    assert code_of(dicom(PIXELS), limits=Limits(frame_bytes=1000)) == "too-large"


def test_a_deflated_bomb_is_stopped_and_an_honest_one_read() -> None:
    def deflated(body: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        syntax = b"1.2.840.10008.1.2.1.99"
        element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax
        head = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(element)) + element
        return bytes(128) + b"DICM" + head + packer.compress(body) + packer.flush()

    content = dicom(PIXELS)
    (length,) = struct.unpack_from("<I", content, 140)
    body = content[144 + length :]
    np.testing.assert_array_equal(render(deflated(body), "dicom").image, render(content, "dicom").image)
    bomb = body + b"\x11\x00\x10\x00OB\x00\x00" + struct.pack("<I", 64 << 20) + bytes(64 << 20)
    assert code_of(deflated(bomb), limits=Limits(inflated_bytes=1 << 20)) == "too-large"
    whole = deflated(body)
    assert code_of(whole[:-20]) == "truncated"


def test_deeply_nested_sequences_end_in_a_reason() -> None:
    """Sequences of undefined length, each holding the next: pydicom goes down them as it reads."""
    opening = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    content = dicom(PIXELS)
    (length,) = struct.unpack_from("<I", content, 140)
    start = 144 + length
    assert code_of(content[:start] + opening * 20_000 + content[start:]) in ("too-deep", "bad-header", "truncated")


def test_a_compressed_frame_must_be_of_the_size_the_header_says() -> None:
    made = dataset(np.zeros((16, 16), np.uint8))
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    stream = io.BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(stream, "JPEG")
    honest = bytearray(stream.getvalue())
    made.PixelData = encapsulate([bytes(honest)])
    made["PixelData"].is_undefined_length = True
    assert render(written(made), "dicom").image.shape == (16, 16)
    at = honest.index(b"\xff\xc0")
    honest[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    made.PixelData = encapsulate([bytes(honest)])
    made["PixelData"].is_undefined_length = True
    assert code_of(written(made)) == "bad-header"


def test_a_jpeg_2000_frame_of_another_size_is_not_decoded() -> None:
    made = dataset(np.zeros((16, 16), np.uint8))
    made.file_meta.TransferSyntaxUID = JPEG2000Lossless
    size = struct.pack(">HHIIIIIIIIHBBB", 41, 0, 1 << 30, 1 << 30, 0, 0, 1 << 30, 1 << 30, 0, 0, 1, 7, 1, 1)
    made.PixelData = encapsulate([b"\xff\x4f\xff\x51" + size + bytes(20)])
    made["PixelData"].is_undefined_length = True
    assert code_of(written(made)) == "bad-header"


@given(st.binary(max_size=80))
def test_reading_a_codestream_header_never_raises(junk: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "):
        declared(start + junk)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_render_or_say_why_not(data: st.DataObject) -> None:
    """Bytes exchanged anywhere in a small file: an image of the right shape, or UnreadableError, nothing else."""
    content = bytearray(dicom(PIXELS, WindowCenter="300", WindowWidth="600"))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(128, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        rendered = render(bytes(content), "dicom", limits=Limits(frame_bytes=1 << 20))
    except UnreadableError:
        return
    assert rendered.image.shape == (rendered.rows, rendered.columns)
    assert np.isfinite(rendered.image).all()


def test_a_frame_that_is_not_there_is_refused() -> None:
    opened = open_dicom(dicom(PIXELS))
    with pytest.raises(UnreadableError, match="frame 1 was asked"):
        stored_frame(opened, image_header(opened), 1)


def test_a_bad_look_up_table_is_a_reason_and_not_a_crash() -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [3, 0, 99], np.arange(3, dtype="<u2").tobytes()
    assert code_of(dicom(PIXELS, VOILUTSequence=[item])) == "bad-header"


# ---- PNG and JPEG


def encoded(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def test_png_and_jpeg_of_every_depth_become_grey() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    expected = ramp.astype(np.float32) / 255
    np.testing.assert_allclose(render(encoded(Image.fromarray(ramp), "PNG"), "png").image, expected, atol=1e-6)
    wide = Image.fromarray(ramp.astype(np.uint16) * 257)
    np.testing.assert_allclose(render(encoded(wide, "PNG"), "png").image, expected, atol=1e-6)
    np.testing.assert_allclose(render(encoded(Image.fromarray(ramp), "JPEG"), "jpeg").image, expected, atol=0.03)
    bits = Image.fromarray(ramp > 127)
    np.testing.assert_array_equal(render(encoded(bits, "PNG"), "png").image, ramp > 127)
    red = Image.new("RGBA", (4, 4), (255, 0, 0, 10))
    np.testing.assert_allclose(render(encoded(red, "PNG"), "png").image, 0.299, atol=1e-6)
    palette = Image.fromarray(ramp).convert("P")
    np.testing.assert_allclose(render(encoded(palette, "PNG"), "png").image, expected, atol=1e-6)


def test_broken_rasters_have_reasons() -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)), "PNG")
    assert code_of(whole[: len(whole) // 2], "png") in ("truncated", "undecodable")
    assert code_of(b"", "png") == "empty"
    assert code_of(b"GIF89a" + bytes(50), "png") == "not-image"
    assert code_of(whole, "png", Limits(side=32)) == "too-large"
    assert raster_encoding(whole) == "png"


def test_a_png_that_declares_a_huge_image_is_refused_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert (
        code_of(content + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")), "png") == "too-large"
    )


# ---- the preview


def test_a_preview_keeps_small_images_and_shrinks_large_ones() -> None:
    small = np.random.default_rng(2).random((30, 50)).astype(np.float32)
    np.testing.assert_allclose(preview_image(preview_bytes(small)), small, atol=0.5 / 255 + 1e-6)
    large = np.zeros((2048, 1024), np.float32)
    large[:, 512:] = 1.0
    shrunk = preview_image(preview_bytes(large))
    assert shrunk.shape == (SIDE, SIDE // 2)
    assert shrunk[:, : SIDE // 4].max() == 0 and shrunk[:, SIDE // 4 :].min() == 1
    with pytest.raises(UnreadableError):
        preview_image(preview_bytes(small)[:-1])
