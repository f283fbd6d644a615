"""Real DICOM files through the gate, valid and not, as they are and with bytes exchanged: decoded, or refused.

Whatever a file is, it ends as an image or as a code with a reason; a worker that dies or hangs of one would show as
`crashed` or `too-slow`, which none of these may.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dataset, dicom, written
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from medquorum.client.deidentify import SECRET_BYTES, Deidentification, Keys, Profile
from medquorum.client.gate import Gate
from medquorum.client.pixels import UnreadableError, image_header, open_dicom

ZOO = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom_zoo"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason=f"the DICOM zoo is not at {ZOO}")
PIXELS = np.arange(600, dtype=np.uint16).reshape(20, 30)


def zoo(*classes: str) -> list[object]:
    if not ZOO.is_dir():
        return []
    with (ZOO / "manifest.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["klass"] in classes]
    return [pytest.param(row, id=row["file"]) for row in rows]


@needs_zoo
@pytest.mark.parametrize("row", zoo("image"))
def test_every_image_decodes_in_a_worker_to_the_manifests_pixels(gate: Gate, row: dict[str, str]) -> None:
    """The manifest's SHA-1 is over pydicom's default array: all frames, YBR_FULL(_422) turned into RGB."""
    content = (ZOO / row["file"]).read_bytes()
    header = image_header(open_dicom(content))
    compressed = open_dicom(content).file_meta.TransferSyntaxUID.is_encapsulated
    frames: list[np.ndarray] = []
    for number in range(header.frames):
        frame, space = gate.frame(content, number)
        if space in ("YBR_FULL", "YBR_FULL_422") and (compressed or frame.ndim == 3):
            frame = convert_color_space(frame, "YBR_FULL", "RGB")
        frames.append(frame)
    array = np.stack(frames) if header.frames > 1 else frames[0]
    assert str(array.shape) == row["shape"]
    assert hashlib.sha1(np.ascontiguousarray(array).tobytes()).hexdigest() == row["px_sha1"]


@needs_zoo
@pytest.mark.parametrize("row", zoo("image"))
def test_every_image_comes_in_or_lacks_what_identifies_it(gate: Gate, row: dict[str, str]) -> None:
    try:
        found = gate.examine((ZOO / row["file"]).read_bytes())
    except UnreadableError as fault:
        assert fault.code in ("missing-identifiers", "unsupported-class"), str(fault)
        return
    assert (found.rows, found.columns) == (int(row["Rows"]), int(row["Columns"])) and found.patient_id


@needs_zoo
@pytest.mark.parametrize("row", zoo("malformed", "mutated", "hard_codec", "nonimage", "nopreamble"))
def test_every_other_file_ends_decoded_or_with_a_reason(gate: Gate, row: dict[str, str]) -> None:
    try:
        found = gate.examine((ZOO / row["file"]).read_bytes())
    except UnreadableError as fault:
        assert fault.code not in ("crashed", "too-slow") and fault.what and "\n" not in fault.what
        return
    assert row["klass"] not in ("hard_codec", "nonimage") and found.rows > 0


# ---- mutations


def made_seeds() -> list[bytes]:
    """Small files of ours in several encodings, with sequences and text."""
    plain = dicom(PIXELS, WindowCenter="300", WindowWidth="600", NumberOfFrames="1")
    seeds = [plain, plain[132:]]
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        made = dataset(PIXELS)
        made.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            made.PixelData = PIXELS.astype(">u2").tobytes()
        seeds.append(written(made))
    made = dataset(np.zeros((16, 16), np.uint8), NumberOfFrames="2")
    made.file_meta.TransferSyntaxUID = RLELossless
    frame = b"\x01\0\0\0\x40\0\0\0" + bytes(56) + b"\x81\0" * 2 + b"\0\0"
    made.PixelData = encapsulate([frame, frame])
    made["PixelData"].is_undefined_length = True
    seeds.append(written(made))
    return seeds


def zoo_seeds(longest: int) -> list[bytes]:
    """The zoo's files up to a size: every encoding that occurs there."""
    if not ZOO.is_dir():
        return []
    paths = sorted(path for path in ZOO.rglob("*") if path.is_file() and 0 < path.stat().st_size <= longest)
    return [path.read_bytes() for path in paths if path.name != "manifest.csv"]


Mutator = Callable[[np.random.Generator, bytearray], None]


def _place(draw: np.random.Generator, content: bytearray) -> int:
    """Somewhere in the file, most often in its header, where the structure is."""
    return int(draw.integers(0, min(len(content), 2048 if draw.random() < 0.7 else len(content))))


def exchange(draw: np.random.Generator, content: bytearray) -> None:
    for _ in range(int(draw.integers(1, 5))):
        content[_place(draw, content)] = int(draw.integers(0, 256))


def flip(draw: np.random.Generator, content: bytearray) -> None:
    for _ in range(int(draw.integers(1, 5))):
        content[_place(draw, content)] ^= 1 << int(draw.integers(0, 8))


def extreme(draw: np.random.Generator, content: bytearray) -> None:
    """Lengths and sizes at their ends."""
    at = _place(draw, content)
    values = (
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\xff\xff",
        b"\xff\xff\xff\x7f",
        b"\xfe\xff\x00\xe0",
        b"\x00\x00\x00\x80",
    )
    value = values[int(draw.integers(0, len(values)))]
    content[at : at + len(value)] = value


def cut(draw: np.random.Generator, content: bytearray) -> None:
    at = _place(draw, content)
    del content[at : at + int(draw.integers(1, 200))]


def cut_off(draw: np.random.Generator, content: bytearray) -> None:
    del content[_place(draw, content) :]


def repeat(draw: np.random.Generator, content: bytearray) -> None:
    at, length = _place(draw, content), int(draw.integers(1, 400))
    content[at:at] = content[at : at + length] * int(draw.integers(1, 5))


def representation(draw: np.random.Generator, content: bytearray) -> None:
    """Another value representation where one may stand."""
    vrs = (b"SQ", b"UN", b"OB", b"OW", b"UI", b"IS", b"DS", b"US", b"AT", b"PN", b"ZZ", b"UT", b"OV", b"FD")
    places = [at for at in range(0, min(len(content) - 2, 2048)) if bytes(content[at : at + 2]).isalpha()]
    if places:
        at = places[int(draw.integers(0, len(places)))]
        content[at : at + 2] = vrs[int(draw.integers(0, len(vrs)))]


# Values more often than lengths: a file whose lengths do not fit is refused early, and the rest of the way not tried.
MUTATORS: tuple[Mutator, ...] = (exchange, flip, exchange, flip, extreme, representation, cut, cut_off, repeat)
HOW = Deidentification(Profile(), Keys(bytes(SECRET_BYTES)))


def mutants(seeds: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    draw = np.random.default_rng(seed)
    for _ in range(count):
        content = bytearray(seeds[int(draw.integers(0, len(seeds)))])
        for _ in range(int(draw.integers(1, 3))):
            if content:
                MUTATORS[int(draw.integers(0, len(MUTATORS)))](draw, content)
        yield bytes(content)


def run(gate: Gate, contents: Iterator[bytes], threads: int) -> Counter[str]:
    """What the gate says of each: "decoded" or a code."""

    def judge(content: bytes) -> str:
        try:
            found = gate.examine(content, HOW)
        except UnreadableError as fault:
            assert fault.what
            return fault.code
        assert found.rows > 0 and found.columns > 0 and found.content.startswith(bytes(128) + b"DICM")
        return "decoded"

    with ThreadPoolExecutor(threads) as pool:
        return Counter(pool.map(judge, contents))


def test_mutants_are_decoded_or_refused_and_no_worker_is_lost(gate: Gate) -> None:
    outcomes = run(gate, mutants(made_seeds() + zoo_seeds(10_000), 400, seed=1), 2)
    assert outcomes.total() == 400
    assert outcomes["crashed"] == outcomes["too-slow"] == 0, outcomes
    assert outcomes["decoded"] > 40 and len(outcomes) > 5, outcomes  # both sides are met, so the mutants bite


@pytest.mark.slow
def test_thirty_thousand_mutants() -> None:
    """No hang (a worker has ten seconds), no crash, and none beyond a worker's memory, which is an outcome as well."""
    seeds = made_seeds() + zoo_seeds(20_000)
    workers = len(os.sched_getaffinity(0))
    with Gate(workers=workers, seconds=10.0, files_per_worker=5_000) as gate:
        outcomes = run(gate, mutants(seeds, 30_000, seed=2), workers + 1)
    assert outcomes.total() == 30_000
    assert outcomes["crashed"] == outcomes["too-slow"] == 0, outcomes
    assert outcomes["decoded"] > 3_000 and len(outcomes) > 8, outcomes
