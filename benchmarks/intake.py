"""Files a second into a hospital's node: over C-STORE, beside dcmtk's storescp.

One sender, dcmtk's storescu with TCP_NODELAY, sends the same folder over one association to either receiver. Ours
encrypts each file and syncs it, and its folder, to disk before it answers; storescp writes plain files and answers.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from _harness import Cell, compare, main, say
from _subjects import dicom_of_12_bits

NOTES = (
    "C-STORE: whole time of one storescu process that sends the folder over one association, receivers running already",
    "ours is durable before it answers (encrypted, file and folder synced); storescp's files are plain and not synced",
    "the gate takes the files in afterwards, apart from the sender, and is not part of the C-STORE figures",
)


def image(number: int, side: int) -> bytes:
    """A radiograph of side x side pixels, 16 bits, with a header of some 40 elements."""
    pixels = np.random.default_rng(number).integers(0, 4096, (side, side), np.uint16)
    patient = number // 4
    elements = {
        "StudyInstanceUID": f"2.25.9{patient}",
        "SeriesInstanceUID": f"2.25.8{number // 2}",
        "PatientID": f"P{patient}",
        "PatientName": f"Doe^Jane{patient}",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "PatientAge": "054Y",
        "AccessionNumber": f"A{number}",
        "StudyID": f"S{number}",
        "ReferringPhysicianName": "Who^Doctor",
        "InstitutionName": "St. Anna",
        "Manufacturer": "Maker",
        "ManufacturerModelName": "Model",
        "DeviceSerialNumber": "123456",
        **{f"{kind}Date": "20240131" for kind in ("Study", "Series", "Content", "Acquisition")},
        **{f"{kind}Time": "101530" for kind in ("Study", "Series", "Content", "Acquisition")},
        "StudyDescription": "Chest PA",
        "SeriesDescription": "Chest",
        "ProtocolName": "Chest adult",
        "SeriesNumber": "1",
        "InstanceNumber": str(number),
        "KVP": "120",
        "ExposureTime": "8",
        "ImagerPixelSpacing": [0.14, 0.14],
        "WindowCenter": "2048",
        "WindowWidth": "4096",
    }
    return dicom_of_12_bits(pixels, number, **elements)


def files(folder: Path, count: int, side: int) -> Path:
    """`count` files of `image` in a new folder."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05}.dcm").write_bytes(image(number, side))
    return folder


# ---- C-STORE


def send(folder: Path, count: int, port: int) -> float:
    """Files a second that storescu gets through to whoever listens on `port`."""
    start = time.perf_counter()
    subprocess.run(
        ["storescu", "+sd", "-aec", "RECEIVER", "-aet", "SENDER", "127.0.0.1", str(port), str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    return count / (time.perf_counter() - start)


@contextmanager
def running(command: list[str], port: int) -> Generator[None]:
    """A receiver for as long as the block lasts, from when it listens on."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "TCP_NODELAY": "1"})
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def serve(folder: Path, port: int) -> None:
    """Our receiver, in this process, until it is terminated."""
    import threading

    from medquorum.client.intake.receiver import Receiver
    from medquorum.client.intake.settings import IntakeSettings
    from medquorum.client.keys import NodeKey
    from medquorum.client.spool import Spool

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    settings = IntakeSettings(ae_title="RECEIVER", port=port, peers=("SENDER@127.0.0.1",))
    with Receiver(Spool(folder, NodeKey(bytes(range(32)))), settings):
        ended.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def synced(folder: Path, count: int, place: Path) -> float:
    """Files a second that one thread can only write and sync, file and folder: what this disk allows any receiver."""
    contents = [file.read_bytes() for file in sorted(folder.iterdir())]
    handle = os.open(place, os.O_RDONLY)
    start = time.perf_counter()
    for number, content in enumerate(contents):
        with (place / f"{number}").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.fsync(handle)
    seconds = time.perf_counter() - start
    os.close(handle)
    return count / seconds


def c_store(name: str, count: int, side: int, runs: int) -> list[Cell]:
    """Both receivers, each in its own process, with the same files from the same sender; and the disk by itself."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = files(Path(scratch) / "files", count, side)
        spool, plain = Path(scratch) / "spool", Path(scratch) / "plain"
        plain.mkdir()
        ours, theirs = free_port(), free_port()

        def emptied(place: Path, rate: float) -> float:
            kept = list(place.iterdir())
            assert len(kept) == count
            for file in kept:
                file.unlink()
            return rate

        serving = [sys.executable, str(Path(__file__).resolve()), "--serve", str(spool), str(ours)]
        storing = ["storescp", "-aet", "RECEIVER", "-od", str(plain), str(theirs)]
        alternatives = (
            ("dcmtk storescp", lambda: emptied(plain, send(folder, count, theirs))),
            ("synced writes alone, no network", lambda: emptied(plain, synced(folder, count, plain))),
        )
        with running(serving, ours), running(storing, theirs):
            return [
                compare(
                    f"C-STORE, {name}",
                    lambda: emptied(spool, send(folder, count, ours)),
                    alternative,
                    what,
                    "files/s",
                    "rate",
                    runs,
                )
                for what, alternative in alternatives
            ]


def measure(quick: bool) -> Sequence[Cell]:
    """Small headers and 10 MB files."""
    cells: list[Cell] = []
    if shutil.which("storescu") and shutil.which("storescp"):
        cells += c_store("small images (10 kB)", 50 if quick else 200, 64, 1 if quick else 5)
        cells += c_store("10 MB images", 4 if quick else 10, 2240, 1 if quick else 5)
    else:
        say("dcmtk (storescu, storescp) is not installed: C-STORE is not measured")
    return cells


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main("intake", "Files a second into a node, beside dcmtk.", measure, NOTES)
