"""What the PACS scenario runs inside a network namespace of its own: Orthanc, a node, and everything between them.

Run as `python journey.py FOLDER` where only loopback exists, since Debian's Orthanc 1.10 listens on every address
whatever it is told. Prints one JSON object of what was seen; the test judges it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests

sys.path.insert(0, str(Path(__file__).parents[2]))  # the helpers of the tests

from dicom_files import dataset, written
from exports import eager_release

from medquorum.client.annotations import Annotation, Box, Mask, Region, new_id, utc_now
from medquorum.client.propose import propose
from medquorum.client.releases import Releases
from medquorum.client.store import Store

ORTHANC = "http://127.0.0.1:8042"
WEB = f"{ORTHANC}/dicom-web"
SECONDS = 60.0
SIGNED = ("--what", "findings,regions", "--sign", "Grace Hopper/St. Anna")
NAMES = (b"M\xfcller", b"Second^Sam", b"ACC7", b"1.2.4.")


def main(folder: Path) -> dict[str, Any]:
    """The whole journey; what was seen at each station."""
    node, seen = folder / "node", {}
    medquorum("init", "St. Anna", "--folder", str(node))
    (node / "intake.toml").write_text('peers = ["ARCHIVE@127.0.0.1"]\nport = 11112\nquiet_seconds = 0.1\n')
    (node / "pacs.toml").write_text(
        f'[pacs.archive]\nweb = "{WEB}"\n\n'
        '[pacs.store]\nhost = "127.0.0.1"\nport = 4242\ncalled = "ARCHIVE"\ncalling = "MEDQUORUM"\n'
    )
    archive = start_orthanc(folder)
    try:
        studies = [upload(content) for content in images()]
        seen["patients before"] = patients()
        seen["received"] = receive(node, sorted(set(studies)))
        seen["stored"] = review(node)
        seen["by stow"] = export(node, "--to", "archive", "--what", "findings,regions,heatmaps")
        seen["again"] = export(node, "--to", "archive", "--what", "findings,regions,heatmaps")
        seen["stored in archive"] = held()
        seen["patients after"] = patients()
        # The PACS goes away, and comes back with what it had.
        archive.terminate()
        archive.wait(SECONDS)
        seen["while away"] = export(
            node, "--to", "store", "--what", "findings,regions", "--sign", "Grace Hopper/St. Anna"
        )
        archive = start_orthanc(folder)
        seen["by c-store"] = export(
            node, "--to", "store", "--what", "findings,regions", "--sign", "Grace Hopper/St. Anna"
        )
        seen["stored after c-store"] = held()
        seen["audit"] = medquorum("audit", "verify", "--folder", str(node)).returncode
    finally:
        archive.terminate()
        archive.wait(SECONDS)
    return seen


def medquorum(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of `medquorum node`."""
    command = [sys.executable, "-m", "medquorum", "node", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def export(node: Path, *arguments: str) -> dict[str, Any]:
    """An export's report with its exit status, or the line that it ended with."""
    done = medquorum("export", "--folder", str(node), "--json", *arguments)
    report = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    return report | {"status": done.returncode}


def images() -> list[bytes]:
    """Two patients: a study of two radiographs, and a study of one ultrasound loop of three frames."""
    draw = np.random.default_rng(2)
    pixels = draw.integers(0, 4096, (3, 48, 40), dtype=np.uint16)
    shared: dict[str, Any] = {
        "StudyDate": "20240102", "StudyTime": "101500", "StudyID": "7", "AccessionNumber": "ACC7",
        "ReferringPhysicianName": "Referring^Rita", "PatientOrientation": ["L", "F"], "ImageLaterality": "U",
        "PatientBirthDate": "19500304", "PatientSex": "F",
    }  # fmt: skip
    first: dict[str, Any] = shared | {
        "PatientID": "P1", "PatientName": "Müller^Änne", "SpecificCharacterSet": "ISO_IR 100",
        "StudyInstanceUID": "1.2.4.1", "SeriesInstanceUID": "1.2.5.1",
    }  # fmt: skip
    loop = dataset(pixels[0], 3, **shared, PatientName="Second^Sam", NumberOfFrames=3)
    loop.SOPClassUID, loop.Modality = "1.2.840.10008.5.1.4.1.1.3.1", "US"
    loop.PixelData = pixels.astype("<u2").tobytes()
    return [
        written(dataset(pixels[0], 1, **first)),
        written(dataset(pixels[1], 2, **first)),
        written(loop),
    ]


def start_orthanc(folder: Path) -> subprocess.Popen[bytes]:
    """Start Orthanc on its folder and wait until it answers."""
    interfaces = {name for _, name in socket.if_nameindex()}
    if interfaces != {"lo"}:
        raise RuntimeError(f"Orthanc would listen on {sorted(interfaces)}: run this in a network namespace of its own")
    settings = {
        "Name": "archive",
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": 8042,
        "DicomPort": 4242,
        "DicomAet": "ARCHIVE",
        "DicomCheckCalledAet": True,
        "DicomModalities": {"node": ["MEDQUORUM", "127.0.0.1", 11112]},
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("ab") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"Orthanc ended: {(folder / 'orthanc.log').read_text()[-2000:]}")
        try:
            return requests.get(f"{ORTHANC}/system", timeout=2.0).ok
        except requests.RequestException:
            return False

    until(answers, "Orthanc answers")
    return process


def upload(content: bytes) -> str:
    """Put a file into Orthanc as a scanner would have; its study's name there."""
    answer = requests.post(f"{ORTHANC}/instances", data=content, timeout=SECONDS)
    answer.raise_for_status()
    return answer.json()["ParentStudy"]


def receive(node: Path, studies: list[str]) -> list[str]:
    """Let Orthanc send its studies by C-STORE to `medquorum node receive`; what that said."""
    command = [sys.executable, "-m", "medquorum", "node", "receive", "--folder", str(node)]
    log = node / "receive.log"
    with log.open("wb") as said:
        receiver = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        until(lambda: "listens on" in log.read_text() or receiver.poll() is not None, "the node listens")
        for study in studies:
            answer = requests.post(f"{ORTHANC}/modalities/node/store", data=study, timeout=SECONDS)
            if not answer.ok:
                raise RuntimeError(f"Orthanc cannot send: {answer.text}\n{log.read_text()}")
        until(lambda: not any(path.is_file() for path in (node / "spool").rglob("*")), "the spool is taken in")
        time.sleep(1.0)  # the file leaves the spool when it is stored; the receiver ends cleanly a little later
    finally:
        receiver.terminate()
        receiver.wait(SECONDS)
    return log.read_text().splitlines()


def review(node: Path) -> list[dict[str, Any]]:
    """Let a small release propose, and a reader read one image; what is stored then."""
    release = eager_release()
    Releases(node / "releases").adopt(release)
    with Store.open(node / "store") as store:
        propose(store, release)
        rows = store.instances()
        radiograph = next(row for row in rows if row.modality == "DX")
        loop = next(row for row in rows if row.modality == "US")
        oval = np.add.outer((np.arange(48) - 20) ** 2, (np.arange(40) - 15) ** 2) < 90
        for row, frame, shape in ((radiograph, 0, Box(4, 5, 20.5, 30)), (loop, 1, Mask.of(oval))):
            region = Region("nodule", shape, "drawn")
            read = (("nodule", "present"),), (region,), 3, 8.0, None
            store.annotate(Annotation(new_id(), row.id, frame, "Dr. Ada Lovelace", utc_now(), None, None, *read))
        return [
            {
                "id": row.id,
                "modality": row.modality,
                "frames": row.frames,
                "uid": row.sop_uid,
                "clear": any(
                    word in store.content(row.id) for word in (b"M\xfcller", b"Second^Sam", b"ACC7", b"1.2.4.")
                ),
            }
            for row in rows
        ]


def patients() -> dict[str, str]:
    """The patients that Orthanc knows, with their names."""
    found = requests.get(f"{ORTHANC}/patients?expand", timeout=SECONDS).json()
    return {one["MainDicomTags"]["PatientID"]: one["MainDicomTags"]["PatientName"] for one in found}


def held() -> list[dict[str, Any]]:
    """What Orthanc holds besides images, as QIDO-RS lists it for each patient, with what a report says of itself."""
    found: list[dict[str, Any]] = []
    for study in requests.get(f"{WEB}/studies?includefield=00100010", timeout=SECONDS).json():
        uid, patient = study["0020000D"]["Value"][0], study["00100020"]["Value"][0]
        for one in requests.get(f"{WEB}/studies/{uid}/instances", timeout=SECONDS).json():
            modality = one["00080060"]["Value"][0]
            if modality not in ("SR", "SEG"):
                continue
            series, instance = one["0020000E"]["Value"][0], one["00080018"]["Value"][0]
            where = f"{WEB}/studies/{uid}/series/{series}/instances/{instance}/metadata"
            header = requests.get(where, timeout=SECONDS).json()[0]
            told = {
                name: header[tag]["Value"][0] if header.get(tag, {}).get("Value") else None
                for name, tag in (("preliminary", "0040A496"), ("verified", "0040A493"), ("frames", "00280008"))
            }
            found.append({"patient": patient, "study": uid, "modality": modality, "uid": instance, **told})
    return found


def until(holds: Any, what: str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"after {SECONDS:.0f} s: {what}, not yet")
        time.sleep(0.1)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    print(json.dumps(main(Path(sys.argv[1]))))  # noqa: T201
