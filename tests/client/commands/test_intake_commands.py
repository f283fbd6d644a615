"""Import, pull, watch, receive and quarantine, by the commands that people type."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dataset, dicom
from node_commands import run
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE

from medquorum.client.intake.pull import PullError, Wanted, pull
from medquorum.client.intake.settings import IntakeSettings
from medquorum.client.keys import NodeKey
from medquorum.client.node import Node
from medquorum.client.pixels import open_dicom
from medquorum.client.spool import Spool, spool_of
from medquorum.client.store import Store

Capture = pytest.CaptureFixture[str]
PIXELS = np.arange(600, dtype=np.uint16).reshape(20, 30)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    Node.create(tmp_path / "node", "north", held_out_share=0.0).close()
    return tmp_path / "node"


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    folder = tmp_path / "ward"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(dicom(PIXELS, 1))
    (folder / "2.dcm").write_bytes(dicom(PIXELS, 2))
    (folder / "nobody.dcm").write_bytes(dicom(PIXELS, 3, PatientID=""))
    (folder / "letter.txt").write_bytes(b"Dear colleague")
    return folder


def test_import_and_what_becomes_of_the_quarantine(node: Path, ward: Path, capsys: Capture) -> None:
    found = json.loads(run(capsys, "import", ward, "--folder", node, "--json"))
    assert (found["imported"], found["duplicates"], found["patients"]) == (2, 0, 2)
    assert {item["code"] for item in found["quarantined"]} == {"missing-identifiers", "not-dicom"}
    listed = json.loads(run(capsys, "quarantine", "list", "--folder", node, "--json"))
    items = {item["source"]: item["id"] for item in listed["quarantined"]}
    assert set(items) == {"nobody.dcm", "letter.txt"} and listed["mixed_studies"] == 0
    shown = run(capsys, "quarantine", "show", items["nobody.dcm"][:8], "--folder", node)
    assert "Patient ID" in shown and "complete it at its source" in shown
    refused = run(capsys, "quarantine", "release", items["nobody.dcm"], "--folder", node, status=3)
    assert "still refused" in refused
    run(capsys, "quarantine", "delete", items["letter.txt"], "--folder", node)
    left = run(capsys, "quarantine", "list", "--folder", node)
    assert "nobody.dcm" in left and "letter.txt" not in left and "1 files in quarantine" in left


def test_files_wait_for_the_process_that_has_the_store(node: Path, ward: Path, capsys: Capture) -> None:
    with Store.open(node / "store") as store:
        said = run(capsys, "import", ward, "--folder", node)
        assert "4 files wait in the spool" in said and store.count() == 0
    assert len(spool_of(node).waiting()) == 4
    (node / "intake.toml").write_text('dicomweb = "http://127.0.0.1:1/dicom-web"\n')
    assert "cannot be asked" in run(capsys, "pull", "--patient", "X", "--folder", node, status=1)


def test_nothing_starts_without_what_it_needs(node: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "nobody may send" in run(capsys, "receive", "--folder", node, status=2)
    assert "no folder is watched" in run(capsys, "watch", "--folder", node, status=2)
    assert "no PACS is named" in run(capsys, "pull", "--patient", "X", "--folder", node, status=1)
    assert "no such file" in run(capsys, "import", tmp_path / "missing", "--folder", node, status=2)
    (node / "store" / "node.key").rename(tmp_path / "lost.key")
    lost = run(capsys, "import", tmp_path, "--folder", node, status=1)
    assert "key file is missing" in lost and "restore" in lost


# ---- DICOMweb


class Pacs(BaseHTTPRequestHandler):
    """Answers QIDO and WADO for three instances of one study, as `behaviour` says."""

    behaviour = "honest"
    asked: list[str] = []  # noqa: RUF012  one server at a time

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Searches by page, and instances as multipart."""
        type(self).asked.append(self.path)
        path, _, query = self.path.partition("?")
        if self.behaviour == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
        elif (
            found := re.fullmatch(r"/dicom-web/studies/[\d.]+/series/[\d.]+/instances/1\.2\.3\.(\d)", path)
        ) is not None:
            self._part(dicom(PIXELS, int(found[1])))
        elif path.endswith("/instances"):
            kinds = ("1.2.840.10008.5.1.4.1.1.1.1",) * 2 + ("1.2.840.10008.5.1.4.1.1.88.11",)
            rows = [
                {"0020000E": uid(f"1.2.5.{n}"), "00080018": uid(f"1.2.3.{n}"), "00080016": uid(kind)}
                for n, kind in enumerate(kinds, 1)
            ]
            self._json([] if "offset=500" in query else rows)
        elif self.behaviour == "hostile-uid":
            self._json([{"0020000D": uid("1.2/../../admin")}])
        else:
            self._json([{"0020000D": uid("1.2.4.1")}])

    def _json(self, rows: list[dict[str, object]]) -> None:
        self._send("application/dicom+json", json.dumps(rows).encode())

    def _part(self, content: bytes) -> None:
        if self.behaviour == "endless":
            self.send_response(200)
            self.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=b')
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 20))
            except OSError:
                return
        elif self.behaviour == "html":
            self._send("text/html", b"<p>please log in</p>")
        else:
            head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
            self._send('multipart/related; type="application/dicom"; boundary=b', head + content + b"\r\n--b--\r\n")

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def uid(value: str) -> dict[str, object]:
    return {"vr": "UI", "Value": [value]}


@contextmanager
def pacs(behaviour: str) -> Iterator[IntakeSettings]:
    handler = type("Handler", (Pacs,), {"behaviour": behaviour, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield IntakeSettings(dicomweb=f"http://127.0.0.1:{server.server_port}/dicom-web", file_megabytes=1)
    finally:
        server.shutdown()
        server.server_close()


def test_a_study_is_pulled_image_by_image(node: Path, capsys: Capture) -> None:
    with pacs("honest") as settings:
        settings.write(node / "intake.toml")
        found = json.loads(run(capsys, "pull", "--study", "1.2.4.1", "--folder", node, "--json"))
    assert (found["imported"], found["quarantined"]) == (2, [])
    with Store.open(node / "store") as store:
        assert {store.identities(row.patient)[0][1] for row in store.instances()} == {"P1", "P2"}


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("redirect", "sends elsewhere"),
        ("endless", "more than"),
        ("html", "instead of a DICOM file"),
        ("hostile-uid", "no UID"),
    ],
)
def test_a_pacs_that_answers_badly_is_one_clear_line(tmp_path: Path, behaviour: str, said: str) -> None:
    spool = Spool(tmp_path / "spool", NodeKey(bytes(32)))
    with pacs(behaviour) as settings, pytest.raises(PullError) as caught:
        pull(settings, Wanted(study="1.2.4.1"), spool)
    assert said in str(caught.value) and spool.waiting() == []


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(modality="DX"), Wanted(study="../x"), Wanted(date="yesterday")])
def test_a_search_must_be_narrow_and_well_formed(wanted: Wanted) -> None:
    with pytest.raises(PullError) as caught:
        wanted.filters()
    assert caught.value.fix


# ---- processes


def receiving(node: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "medquorum", "node", "receive", "--folder", str(node)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"listens on .* port (\d+)", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, int(found[1])
    raise AssertionError(f"it did not start: {process.wait()}")


def send(port: int, numbers: range) -> list[int]:
    """Numbers of those files of which status 0 was heard, until the receiver is gone."""
    entity = AE("MODALITY")
    entity.dimse_timeout = entity.acse_timeout = entity.network_timeout = 5
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="MEDQUORUM")
    accepted: list[int] = []
    for number in numbers:
        made = dataset(PIXELS, number)
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        if not association.is_established:
            break
        try:
            status = association.send_c_store(made)
        except RuntimeError:
            break
        if status.get("Status", None) == 0:
            accepted.append(number)
    if association.is_established:
        association.release()
    return accepted


@pytest.mark.slow
def test_a_killed_receiver_loses_nothing_that_was_accepted(node: Path) -> None:
    """Killed while files arrive and while its own gate takes them in; started again, everything accepted is stored."""
    IntakeSettings(port=0, peers=("MODALITY@127.0.0.1",), free_megabytes=0).write(node / "intake.toml")
    accepted: list[int] = []
    for turn in range(3):
        process, port = receiving(node)
        found: list[list[int]] = []
        sender = threading.Thread(
            target=lambda p=port, t=turn, f=found: f.append(send(p, range(500 * t, 500 * t + 500)))
        )
        sender.start()
        time.sleep(2.5)
        process.kill()
        process.wait()
        sender.join(30)
        accepted += found[0]
    assert len(accepted) > 10
    process, _ = receiving(node)
    spool = spool_of(node)
    end = time.monotonic() + 60
    while spool.waiting() and time.monotonic() < end:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    with Store.open(node / "store") as store:
        stored = {store.identities(row.patient)[0][1] for row in store.instances()}
        assert store.quarantined() == []
        assert {f"P{number}" for number in accepted} <= stored
    assert not list((node / "spool").glob("*.part"))


@pytest.mark.slow
def test_a_watching_process_takes_files_and_stops_when_told(node: Path, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    IntakeSettings(watched=str(drop), quiet_seconds=0.3, free_megabytes=0).write(node / "intake.toml")
    process = subprocess.Popen([sys.executable, "-m", "medquorum", "node", "watch", "--folder", str(node)])
    (drop / "1.dcm").write_bytes(dicom(PIXELS))
    spool = spool_of(node)
    end = time.monotonic() + 60
    while not (drop / "taken" / "1.dcm").exists() or spool.waiting():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert open_dicom((drop / "taken" / "1.dcm").read_bytes()).PatientID == "P1"
    with Store.open(node / "store") as store:
        assert store.count() == 1
