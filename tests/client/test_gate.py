"""The gate's workers: what they cannot do, and what becomes of a file that hangs, kills or exhausts one."""

from __future__ import annotations

import functools
import os
import signal
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from dicom_files import dataset, dicom, written
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import BasicTextSRStorage, JPEG2000Lossless

from medquorum.client.gate import GATE_LIMITS, Gate, GateError, InProcess, SandboxLevel, probe
from medquorum.client.gate.frames import BrokenPipeline, receive, send
from medquorum.client.pixels import Limits, UnreadableError
from medquorum.client.pixels.preview import preview_image

PIXELS = np.arange(600, dtype=np.uint16).reshape(20, 30)


def code_of(gate: Gate, content: bytes) -> str:
    with pytest.raises(UnreadableError) as caught:
        gate.examine(content)
    assert caught.value.what and len(str(caught.value)) < 600
    return caught.value.code


def alive(gate: Gate) -> None:
    assert gate.examine(dicom(PIXELS)).patient_id == "P1"


# ---- the sandbox


def test_a_worker_cannot_connect_start_write_or_grow() -> None:
    """The probe tries each; what the kernel did not give is named, and what it gave holds."""
    found = probe()
    assert found.escapes == ()
    assert found.level.name in ("full", "limits")
    with Gate(workers=1) as gate:
        assert gate.level() == found.level


def test_levels_are_named_by_what_is_missing() -> None:
    assert SandboxLevel(True, True, True).name == "full"
    assert SandboxLevel(True, True, False).name == "limits" and "seccomp" in SandboxLevel(True, True, False).missing[0]
    assert SandboxLevel(False, True, True).name == "none"


def test_no_sandbox_at_all_means_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SandboxLevel, "name", property(lambda self: "none"))
    with Gate(workers=1) as gate, pytest.raises(GateError, match="no sandbox"):
        gate.examine(dicom(PIXELS))


def test_a_worker_gets_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy")
    with Gate(workers=1) as gate:
        gate.level()
        (worker,) = gate._idle  # pyright: ignore[reportPrivateUsage]
        environment = worker._process.pid  # pyright: ignore[reportPrivateUsage]
        try:
            text = open(f"/proc/{environment}/environ", "rb").read()  # noqa: SIM115, PTH123
        except PermissionError:
            return  # not dumpable: not even its parent may look, which is stronger
    assert b"secret" not in text


# ---- answers


def test_what_the_gate_says_is_what_reading_in_this_process_says(gate: Gate) -> None:
    content = dicom(PIXELS, ImageLaterality="R")
    found = gate.examine(content)
    assert found == InProcess().examine(content)
    assert (found.laterality, found.rows, found.columns) == ("R", 20, 30)
    assert preview_image(found.preview).shape == (20, 30)


def test_stored_values_come_back_bit_for_bit(gate: Gate) -> None:
    array, space = gate.frame(dicom(PIXELS))
    np.testing.assert_array_equal(array, PIXELS)
    assert array.dtype == np.uint16 and space == "MONOCHROME2"
    with pytest.raises(UnreadableError, match="frame 3"):
        gate.frame(dicom(PIXELS), 3)


def test_many_threads_share_a_few_workers() -> None:
    contents = [dicom(PIXELS, number) for number in range(12)]
    found: dict[int, str] = {}
    with Gate(workers=2, files_per_worker=5) as gate:  # and each is replaced several times on the way
        threads = [
            threading.Thread(target=lambda n=n: found.__setitem__(n, gate.examine(contents[n]).patient_id))
            for n in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: f"P{n}" for n in range(12)}


# ---- workers that are lost


@functools.cache
def slow_file() -> bytes:
    """A valid file whose reading takes a good part of a second: thousands of nested items."""
    item = Dataset()
    item.CodeValue = "1"
    made = dataset(PIXELS)
    made.AnatomicRegionSequence = Sequence([item] * 15_000)
    return written(made)


def test_a_file_that_takes_too_long_is_refused_and_the_next_is_read() -> None:
    with Gate(workers=1, seconds=0.2) as gate:
        gate.level()  # starting a worker is not on the file's account
        assert code_of(gate, slow_file()) == "too-slow"
        gate._seconds = 30.0  # pyright: ignore[reportPrivateUsage]  the fresh worker's
        alive(gate)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_of_a_file_costs_that_file(number: signal.Signals) -> None:
    with Gate(workers=1) as gate:
        gate.level()
        (worker,) = gate._idle  # pyright: ignore[reportPrivateUsage]
        pid = worker._process.pid  # pyright: ignore[reportPrivateUsage]

        def strike() -> None:
            while worker.served == 0:
                time.sleep(0.005)
            time.sleep(0.05)
            os.kill(pid, number)

        thread = threading.Thread(target=strike)
        thread.start()
        with pytest.raises(UnreadableError, match=number.name) as caught:
            gate.examine(slow_file())
        thread.join()
        assert caught.value.code == "crashed"
        alive(gate)


def test_an_idle_worker_that_was_killed_costs_no_file() -> None:
    with Gate(workers=1) as gate:
        alive(gate)
        (worker,) = gate._idle  # pyright: ignore[reportPrivateUsage]
        os.kill(worker._process.pid, signal.SIGKILL)  # pyright: ignore[reportPrivateUsage]
        worker._process.wait()  # pyright: ignore[reportPrivateUsage]
        alive(gate)


def test_stopping_the_node_lets_workers_finish() -> None:
    """A terminal and systemd signal every process of a service; the file at hand must not count as a killer."""
    with Gate(workers=1) as gate:
        gate.level()
        (worker,) = gate._idle  # pyright: ignore[reportPrivateUsage]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(worker._process.pid, number)  # pyright: ignore[reportPrivateUsage]
        alive(gate)
        assert gate._idle == [worker]  # pyright: ignore[reportPrivateUsage]


def test_a_file_that_needs_more_memory_than_there_is_ends_in_a_reason() -> None:
    """A frame of 8,000 x 4,000 pixels: allowed by its size, and more than a worker of 500 MiB can render."""
    side = 8_000
    content = dicom(np.zeros((1, 1), np.uint8), Rows=side, Columns=side // 2)
    content = content[:-2] + bytes(side * side // 2 - 2)
    at = content.index(b"\xe0\x7f\x10\x00")
    content = content[: at + 8] + struct.pack("<I", side * side // 2) + content[at + 12 :] + bytes(2)
    with Gate(workers=1, memory=500 << 20) as gate:
        assert code_of(gate, content) == "too-large"
        alive(gate)


def test_frames_between_gate_and_worker_are_bounded() -> None:
    ours, theirs = os.pipe()
    try:
        send(theirs, {"a": 1}, b"xyz")
        assert receive(ours, 3) == ({"a": 1}, b"xyz")
        send(theirs, {"a": 1}, b"xyz")
        with pytest.raises(BrokenPipeline):
            receive(ours, 2)
    finally:
        os.close(ours)
        os.close(theirs)


# ---- what is let in


def test_only_listed_classes_and_identified_files_come_in(gate: Gate) -> None:
    assert code_of(gate, dicom(PIXELS, SOPClassUID=BasicTextSRStorage)) == "unsupported-class"
    assert code_of(gate, dicom(PIXELS, SOPClassUID="1.3.6.1.4.1.99999.1")) == "unsupported-class"
    assert code_of(gate, dicom(PIXELS, SOPClassUID=None)) == "unsupported-class"
    assert code_of(gate, dicom(PIXELS, PatientID="")) == "missing-identifiers"
    assert code_of(gate, dicom(PIXELS, StudyInstanceUID="1.2." + "3" * 80)) == "missing-identifiers"
    assert code_of(gate, dicom(PIXELS, SeriesInstanceUID="../x")) == "missing-identifiers"
    with Gate(classes=["1.3.6.1.4.1.99999.1"], workers=1) as open_to_one:
        assert open_to_one.examine(dicom(PIXELS, SOPClassUID="1.3.6.1.4.1.99999.1")).patient_id == "P1"
        assert code_of(open_to_one, dicom(PIXELS)) == "unsupported-class"


def test_the_limits_are_applied(gate: Gate) -> None:
    tight = Limits(
        file_bytes=200_000, side=100, frames=3, frame_bytes=5_000, decoded_bytes=9_000, depth=2, elements=60,
        element_bytes=1_000,
    )  # fmt: skip
    item: Dataset = Dataset()
    item.CodeValue = "1"
    deep = Dataset()
    for _ in range(3):
        outer = Dataset()
        outer.AnatomicRegionSequence = Sequence([deep])
        deep = outer
    with Gate(tight, workers=1) as gate:
        alive(gate)
        many = np.zeros((90, 90), np.uint8)
        assert code_of(gate, dicom(np.zeros((101, 2), np.uint8))) == "too-large"
        assert code_of(gate, dicom(many)) == "too-large"
        assert code_of(gate, dicom(PIXELS, NumberOfFrames=4)) == "too-large"
        assert code_of(gate, dicom(np.zeros((60, 60), np.uint8), NumberOfFrames=3)) == "too-large"
        assert code_of(gate, dicom(PIXELS, ImageComments="x" * 1001)) == "too-large"
        assert code_of(gate, dicom(PIXELS) + bytes(200_000)) == "too-large"
        assert code_of(gate, dicom(PIXELS, AnatomicRegionSequence=Sequence([deep]))) == "too-deep"
        assert code_of(gate, dicom(PIXELS, AnatomicRegionSequence=Sequence([item] * 60))) == "too-many-elements"


# ---- bombs


def nested(levels: int) -> bytes:
    """Sequences of undefined length, each holding the next, in front of an honest image."""
    opening = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    content = dicom(PIXELS)
    (length,) = struct.unpack_from("<I", content, 140)
    return content[: 144 + length] + opening * levels + content[144 + length :]


def nested_and_closed(levels: int) -> bytes:
    """As `nested`, but well-formed: every item and sequence ends."""
    opening = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    content = dicom(PIXELS)
    at = content.index(b"\x10\x00\x20\x00LO")
    return content[:at] + opening * levels + closing * levels + content[at:]


def deflated(size: int) -> bytes:
    """A data set of some hundred kilobytes that inflates to `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = dicom(PIXELS)
    (length,) = struct.unpack_from("<I", content, 140)
    pieces = [packer.compress(content[144 + length :])]
    pieces.append(packer.compress(b"\x11\x00\x10\x00OB\x00\x00" + struct.pack("<I", size)))
    pieces.append(packer.flush(zlib.Z_FULL_FLUSH))
    block = 16 << 20  # compressed once: after a full flush a block depends on nothing before it
    pieces += [packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)] * (size // block)
    pieces.append(packer.flush())
    syntax = b"1.2.840.10008.1.2.1.99"
    element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax
    head = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(element)) + element
    return bytes(128) + b"DICM" + head + b"".join(pieces)


def long_number(vr: bytes, tag: bytes) -> bytes:
    """An integer or decimal of 5,000 digits where a short one belongs."""
    content = dicom(PIXELS, PlanarConfiguration=0, InstanceNumber="1", SliceThickness="1.0")
    at = content.index(tag + vr)
    (length,) = struct.unpack_from("<H", content, at + 6)
    return content[: at + 6] + struct.pack("<H", 5000) + b"9" * 5000 + content[at + 8 + length :]


def unknown_vr() -> bytes:
    content = bytearray(dicom(PIXELS))
    at = content.index(b"\x18\x00\x15\x00CS")
    content[at + 4 : at + 6] = b"ZQ"
    return bytes(content)


def eight_gibibytes() -> bytes:
    """A compressed frame of a hundred bytes that declares 92,000 x 92,000 pixels."""
    made = dataset(np.zeros((16, 16), np.uint8))
    made.file_meta.TransferSyntaxUID = JPEG2000Lossless
    size = struct.pack(">HHIIIIIIIIHBBB", 41, 0, 92_000, 92_000, 0, 0, 92_000, 92_000, 0, 0, 1, 7, 1, 1)
    made.PixelData = encapsulate([b"\xff\x4f\xff\x51" + size + bytes(20)])
    made["PixelData"].is_undefined_length = True
    return written(made)


def truncated_header() -> bytes:
    content = dicom(PIXELS, ImageComments="comment")
    return content[: content.index(b"comment") + 3]


BOMBS = {
    "a-thousand-open-sequences": lambda: nested(1_000),
    "fifty-thousand-open-sequences": lambda: nested(50_000),
    "sequences-well-formed": lambda: nested_and_closed(100),
    "sequences-well-formed-and-very-deep": lambda: nested_and_closed(5_000),
    "gigabytes-deflated": lambda: deflated(3 << 29),
    "integer-of-5000-digits": lambda: long_number(b"IS", b"\x20\x00\x13\x00"),
    "decimal-of-5000-digits": lambda: long_number(b"DS", b"\x18\x00\x50\x00"),
    "unknown-vr": unknown_vr,
    "tiny-frame-of-eight-gibibytes": eight_gibibytes,
    "header-cut-off": truncated_header,
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_is_refused_with_a_reason_and_the_worker_lives(gate: Gate, name: str) -> None:
    content = BOMBS[name]()
    assert len(content) < 2 << 20
    assert code_of(gate, content) in (
        "too-deep", "too-large", "bad-header", "truncated", "no-pixels", "unsupported-class",
    )  # fmt: skip
    alive(gate)


def test_numbers_that_are_none_do_not_reach_the_picture(gate: Gate) -> None:
    """NaN and infinity in decimals: the window does not count, and the image is finite."""
    for value in ("nan", "inf", "-inf", "1e400"):
        content = dicom(PIXELS, WindowCenter="100", WindowWidth="200", RescaleSlope="1", RescaleIntercept="0")
        for tag in (b"\x28\x00\x50\x10DS", b"\x28\x00\x52\x10DS"):
            at = content.index(tag)
            (length,) = struct.unpack_from("<H", content, at + 6)
            padded = value.encode().ljust((len(value) + 1) // 2 * 2)
            content = content[: at + 6] + struct.pack("<H", len(padded)) + padded + content[at + 8 + length :]
        try:
            shown = preview_image(gate.examine(content).preview)
        except UnreadableError as fault:
            assert fault.code == "bad-header"
            continue
        assert np.isfinite(shown).all() and 0 <= shown.min() <= shown.max() <= 1


def test_the_gate_reads_files_up_to_its_limit_and_no_further() -> None:
    assert GATE_LIMITS.file_bytes * 4 <= 2 << 30  # a worker holds a file about four times over
    with Gate(Limits(file_bytes=1000), workers=1) as gate:
        assert code_of(gate, bytes(1001)) == "too-large"
        assert gate._idle == []  # pyright: ignore[reportPrivateUsage]  it did not even travel
