"""Importing a folder of DICOM files: every file accounted for, in one order, whatever it is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom

from medquorum.client.errors import IntakeError
from medquorum.client.gate import Gate
from medquorum.client.intake import import_dicom
from medquorum.client.pixels import Limits, open_dicom
from medquorum.client.pixels.preview import PREVIEW, preview_image
from medquorum.client.store import Store

ZOO = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom_zoo"
PIXELS = np.arange(600, dtype=np.uint16).reshape(20, 30)


def put(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    folder = tmp_path / "ward"
    folder.mkdir()
    return folder


def test_a_file_becomes_an_instance_with_what_its_header_says(store: Store, gate: Gate, ward: Path) -> None:
    content = dicom(PIXELS, ImageLaterality="L")
    put(ward, "a/b/image", content)
    report = import_dicom(store, ward, gate)
    assert (report.imported, report.duplicates, report.patients, report.quarantined) == (1, 0, 1, ())
    (row,) = store.instances()
    assert (row.modality, row.body_part, row.view, row.laterality) == ("DX", "CHEST", "PA", "L")
    assert (row.rows, row.columns, row.frames, row.encoding, row.source) == (20, 30, 1, "dicom", "a/b/image")
    kept = open_dicom(store.content(row.id))
    assert kept.PatientIdentityRemoved == "YES" and kept.PatientID != "P1" and kept.SOPInstanceUID != "1.2.3.1"
    assert kept.PixelData == open_dicom(content).PixelData
    assert store.identities(row.patient) == [("HOSPITAL", "P1")]
    original = store.original(row.id)
    assert original is not None
    assert (original.patient_id, original.issuer_of_patient_id, original.sop_uid) == ("P1", "HOSPITAL", "1.2.3.1")
    preview = store.cache_get(row.id, PREVIEW)
    assert preview is not None
    assert preview_image(preview).shape == (20, 30)


def test_every_file_is_imported_duplicate_or_quarantined(store: Store, gate: Gate, ward: Path) -> None:
    put(ward, "1.dcm", dicom(PIXELS, 1))
    put(ward, "2.dcm", dicom(PIXELS, 2))
    put(ward, "again.dcm", dicom(PIXELS, 1))
    put(ward, "conflict.dcm", dicom(PIXELS[::-1], 1))
    put(ward, "cut.dcm", dicom(PIXELS, 3)[:-100])
    put(ward, "empty.dcm", b"")
    put(ward, "letter.txt", b"Dear colleague")
    put(ward, "nobody.dcm", dicom(PIXELS, 4, PatientID=""))
    put(ward, "odd_uid.dcm", dicom(PIXELS, 5, StudyInstanceUID="../../etc/passwd"))
    (ward / "away").symlink_to("/etc/hostname")
    (ward / "loop").symlink_to(ward)
    os.mkfifo(ward / "pipe")
    seen: list[tuple[int, int]] = []
    report = import_dicom(store, ward, gate, lambda done, total: seen.append((done, total)))
    assert (report.imported, report.duplicates, report.patients) == (2, 1, 2)
    assert {item.source: item.code for item in report.quarantined} == {
        "away": "unreadable-file",
        "conflict.dcm": "conflict",
        "cut.dcm": "truncated",
        "empty.dcm": "empty",
        "letter.txt": "not-dicom",
        "loop": "unreadable-file",
        "nobody.dcm": "missing-identifiers",
        "odd_uid.dcm": "missing-identifiers",
        "pipe": "unreadable-file",
    }
    assert report.offered == 12
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    held = {row.source: (row.code, row.reason) for row in store.quarantined()}
    assert held == {item.source: (item.code, item.reason) for item in report.quarantined}
    assert sum(report.by_code().values()) == 9


def test_importing_again_finds_duplicates_and_the_same_faults(store: Store, gate: Gate, ward: Path) -> None:
    for number in range(70):  # more than one batch
        put(ward, f"{number:03}.dcm", dicom(PIXELS, number + 1, PatientID=f"P{number // 2}"))
    put(ward, "bad.dcm", b"nothing")
    first, second = import_dicom(store, ward, gate), import_dicom(store, ward, gate)
    assert (first.imported, first.duplicates, first.patients) == (70, 0, 35)
    assert (second.imported, second.duplicates, second.patients) == (0, 70, 35)
    assert first.quarantined == second.quarantined
    assert len(store.quarantined()) == 1
    assert [row.source for row in store.instances()] == [f"{number:03}.dcm" for number in range(70)]


def test_patients_of_two_issuers_are_two_and_identifiers_are_never_cut(store: Store, gate: Gate, ward: Path) -> None:
    put(ward, "1", dicom(PIXELS, 1, PatientID="X"))
    put(ward, "2", dicom(PIXELS, 2, PatientID="X", IssuerOfPatientID="OTHER"))
    put(ward, "3", dicom(PIXELS, 3, PatientID="A\\1"))
    put(ward, "4", dicom(PIXELS, 4, PatientID="A\\2"))
    assert import_dicom(store, ward, gate).patients == 4


def test_limits_are_applied_before_reading(store: Store, gate: Gate, ward: Path) -> None:
    put(ward, "1.dcm", dicom(PIXELS))
    report = import_dicom(store, ward, gate, limits=Limits(file_bytes=50))
    assert report.by_code() == {"too-large": 1}


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_folder_that_is_none_is_one_clear_line(store: Store, gate: Gate, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(IntakeError, match="folder") as caught:
        import_dicom(store, tmp_path / name, gate)
    assert str(tmp_path / name) in str(caught.value) and caught.value.fix


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"the DICOM zoo is not at {ZOO}")
def test_the_zoo_is_accounted_for(store: Store, gate: Gate) -> None:
    report = import_dicom(store, ZOO, gate)
    assert report.offered == sum(1 for path in ZOO.rglob("*") if path.is_file())
    assert report.imported >= 29
    assert all(item.code and item.reason for item in report.quarantined)
    assert len(store.quarantined()) == len(report.quarantined)
    rejected = {item.source for item in report.quarantined}
    assert {path.relative_to(ZOO).as_posix() for path in (ZOO / "nonimage").iterdir()} <= rejected
