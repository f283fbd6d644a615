"""Folders, media, archives, the watched folder, the spool's files, settings and quarantine: what comes in, and how."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from medquorum.client.errors import IntakeError, RefusedIntakeError, TamperError
from medquorum.client.gate import Gate
from medquorum.client.intake.archive import Archive, Bounds
from medquorum.client.intake.drain import drain
from medquorum.client.intake.folder import import_dicom, import_sources
from medquorum.client.intake.offered import offered
from medquorum.client.intake.quarantined import advice, chosen, release
from medquorum.client.intake.report import IntakeReport
from medquorum.client.intake.settings import IntakeSettings, IntakeSettingsError, Peer
from medquorum.client.intake.watched import Watched
from medquorum.client.keys import NodeKey
from medquorum.client.pixels import Limits, UnreadableError
from medquorum.client.spool import Spool
from medquorum.client.store import Store

PIXELS = np.arange(600, dtype=np.uint16).reshape(20, 30)
KEY = NodeKey(bytes(range(32)))


def take_in(store: Store, gate: Gate, path: Path) -> IntakeReport:
    with offered(path, gate) as sources:
        return import_sources(store, sources, gate)


# ---- one file, ZIP


def test_one_file(store: Store, gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(dicom(PIXELS))
    assert take_in(store, gate, tmp_path / "image").imported == 1
    with pytest.raises(IntakeError, match="no such"):
        take_in(store, gate, tmp_path / "missing")


def test_an_archives_members_are_files_and_bad_ones_are_named(store: Store, gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.dcm", dicom(PIXELS, 1))
        archive.writestr("../../2.dcm", dicom(PIXELS, 2))  # only a name: nothing is written anywhere
        archive.writestr("notes.txt", "Dear colleague")
        archive.mkdir("empty")
    report = take_in(store, gate, path)
    assert (report.imported, report.by_code()) == (2, {"not-dicom": 1})
    assert sorted(row.source for row in store.instances()) == ["../../2.dcm", "a/1.dcm"]


def test_a_damaged_member_costs_itself(store: Store, gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.dcm", dicom(PIXELS, 1))
        archive.writestr("2.dcm", dicom(PIXELS, 2))
    content = bytearray(path.read_bytes())
    content[400] ^= 1  # inside the first member: its checksum no longer fits
    path.write_bytes(content)
    report = take_in(store, gate, path)
    assert (report.imported, report.by_code()) == (1, {"unreadable-file": 1})


def test_a_zip_bomb_is_unpacked_no_further_than_its_bounds(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(3):
            archive.writestr(f"{number}", bytes(12 << 20))
    assert path.stat().st_size < 100_000
    large = Archive(path, Limits(file_bytes=1 << 20))
    with pytest.raises(UnreadableError, match="unpacks to more") as caught:
        large.sources[0].read()
    assert caught.value.code == "too-large"
    large.close()
    together = Archive(path, Limits(), Bounds(total=20 << 20))
    assert len(together.sources[0].read()) == 12 << 20
    with pytest.raises(UnreadableError, match="archive unpacks to more"):
        together.sources[1].read()
    together.close()
    with pytest.raises(IntakeError, match="3 members"):
        Archive(path, Limits(), Bounds(members=2))


def test_a_directory_that_lies_about_sizes_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(5 << 20))
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")
    lied = content[: at + 24] + struct.pack("<I", 10) + content[at + 28 :]
    path.write_bytes(lied)
    archive_ = Archive(path, Limits(file_bytes=1 << 20))
    try:
        data = archive_.sources[0].read()
    except UnreadableError as fault:
        assert fault.code in ("unreadable-file", "too-large")
    else:
        assert len(data) <= 1 << 20
    archive_.close()


def test_what_is_no_archive_is_one_clear_line(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(IntakeError, match="archive cannot be opened"), offered(tmp_path / "x.zip", gate):
        pass


# ---- DICOMDIR


def dicomdir(*names: tuple[str, ...]) -> bytes:
    import io

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    made.FileSetID = "CD"
    records: list[Dataset] = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = list(name)
        records.append(record)
    made.DirectoryRecordSequence = Sequence(records)
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_a_medium_is_taken_by_its_directory_and_what_is_missing_is_named(
    store: Store, gate: Gate, tmp_path: Path
) -> None:
    disc = tmp_path / "disc"
    (disc / "images").mkdir(parents=True)
    (disc / "images" / "im1").write_bytes(dicom(PIXELS, 1))  # mounted in lower case
    (disc / "other.dcm").write_bytes(dicom(PIXELS, 2))
    (disc / "DICOMDIR").write_bytes(dicomdir(("IMAGES", "IM1"), ("IMAGES", "IM9")))
    report = take_in(store, gate, disc / "DICOMDIR")
    assert (report.imported, [item.source for item in report.quarantined]) == (1, ["IMAGES/IM9"])
    assert "not there" in report.quarantined[0].reason
    report = take_in(store, gate, disc)  # the folder: also what the directory does not list, and not the directory
    assert (report.imported, report.duplicates) == (1, 1)
    assert [item.source for item in report.quarantined] == ["IMAGES/IM9"]


@pytest.mark.parametrize("name", [("..", "..", "ETC", "PASSWD"), ("A", ""), ("A/B",), ("A" * 80,)], ids=str)
def test_a_directory_that_leads_elsewhere_is_refused(gate: Gate, tmp_path: Path, name: tuple[str, ...]) -> None:
    (tmp_path / "DICOMDIR").write_bytes(dicomdir(name))
    with pytest.raises(IntakeError, match="DICOMDIR cannot be read"), offered(tmp_path / "DICOMDIR", gate):
        pass


def test_a_directory_that_is_none(store: Store, gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(dicom(PIXELS))
    with pytest.raises(IntakeError, match="not a DICOMDIR"), offered(tmp_path / "DICOMDIR", gate):
        pass
    assert take_in(store, gate, tmp_path).imported == 1  # in a folder it is a file like any other


# ---- the watched folder


def test_files_are_taken_when_quiet_once_and_put_away(store: Store, gate: Gate, spool: Spool, tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    (folder / "ward").mkdir(parents=True)
    watched = Watched(folder, spool, 10.0, "move")
    (folder / "ward" / "1.dcm").write_bytes(dicom(PIXELS, 1)[:500])
    assert watched.look(now=0.0) == 0
    (folder / "ward" / "1.dcm").write_bytes(dicom(PIXELS, 1))  # still being copied
    assert [watched.look(now=second) for second in (5.0, 14.0, 15.0, 26.0)] == [0, 0, 1, 0]
    assert (folder / "taken" / "ward" / "1.dcm").is_file() and not (folder / "ward" / "1.dcm").exists()
    (folder / "ward" / "1.dcm").write_bytes(dicom(PIXELS, 2))  # another of the same name
    assert [watched.look(now=second) for second in (30.0, 41.0)] == [0, 1]
    assert (folder / "taken" / "ward" / "1.dcm.2").is_file()
    assert drain(store, spool, gate).imported == 2


def test_what_interrupts_between_spool_and_move_loses_and_doubles_nothing(
    store: Store, gate: Gate, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(dicom(PIXELS))
    watched = Watched(folder, spool, 0.0, "delete")
    with monkeypatch.context() as patched:

        def killed(self: Watched, name: str) -> None:
            raise KeyboardInterrupt

        patched.setattr(Watched, "_put_away", killed)
        watched.look(now=0.0)
        with pytest.raises(KeyboardInterrupt):
            watched.look(now=1.0)
    assert (folder / "1.dcm").exists() and len(spool.waiting()) == 1
    again = Watched(folder, spool, 0.0, "delete")
    assert [again.look(now=0.0), again.look(now=1.0)] == [0, 1]
    assert not (folder / "1.dcm").exists()
    report = drain(store, spool, gate)
    assert (report.imported, report.duplicates) == (1, 1)


def test_what_cannot_be_taken_stays(spool: Spool, tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "away").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe")
    watched = Watched(folder, spool, 0.0, "delete")
    assert [watched.look(now=float(n)) for n in range(3)] == [0, 0, 0]
    assert sorted(path.name for path in folder.iterdir()) == ["away", "pipe"] and spool.waiting() == []


# ---- the spool's files


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 30, 1 << 20, (3 << 20) + 17])
def test_files_of_every_size_come_back(spool: Spool, size: int) -> None:
    content = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    spooled = spool.read(spool.put("somewhere", content))
    assert (spooled.source, spooled.content) == ("somewhere", content)


def test_changed_cut_and_reordered_files_are_noticed(spool: Spool, tmp_path: Path) -> None:
    chunk = 1 << 20
    entry = spool.put("x", os.urandom(3 * chunk))
    path = tmp_path / "spool" / f"{entry}.entry"
    whole = path.read_bytes()
    sealed = 4 + chunk + 16
    first, second = whole[36 : 36 + sealed], whole[36 + sealed : 36 + 2 * sealed]
    rest = whole[36 + 2 * sealed :]
    changed = {
        "flipped": whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        "cut at a chunk": whole[: 36 + 2 * sealed],
        "cut inside": whole[:-5],
        "reordered": whole[:36] + second + first + rest,
        "left out": whole[:36] + second + rest,
        "longer": whole + b"x",
        "empty": b"",
    }
    for name, bad in changed.items():
        path.write_bytes(bad)
        with pytest.raises(TamperError):
            pytest.fail(f"{name}: {len(spool.read(entry).content)}")
        path.with_suffix(".damaged").unlink()
    path.write_bytes(whole)
    assert len(spool.read(entry).content) == 3 * chunk
    with pytest.raises(TamperError):
        Spool(tmp_path / "spool", NodeKey(bytes(32))).read(entry)


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "spool" / "00000000000000000001-ab.part").write_bytes(b"half")
    with spool.begin("living") as arriving:
        arriving.write(b"data")
        again = Spool(tmp_path / "spool", KEY)
        assert len(list((tmp_path / "spool").glob("*.part"))) == 1
        entry = arriving.finish()
    assert again.waiting() == [entry]


# ---- patients


def test_people_and_identifiers_that_do_not_fit_together(store: Store, gate: Gate, tmp_path: Path) -> None:
    ward = tmp_path / "ward"
    ward.mkdir()
    files = {
        "1": dicom(PIXELS, 1, PatientID="X", PatientBirthDate="19700101"),
        "2": dicom(PIXELS, 2, PatientID="X", PatientBirthDate="1970.01.01"),  # the same day, as ACR-NEMA wrote it
        "3": dicom(PIXELS, 3, PatientID="X", PatientBirthDate=""),
        "4-another-person": dicom(PIXELS, 4, PatientID="X", PatientBirthDate="19991231"),
        "5-changed-identifier": dicom(PIXELS, 1, PatientID="Y", PatientBirthDate="19700101"),
        "6-mixed-study": dicom(PIXELS, 6, PatientID="Z", StudyInstanceUID="1.2.4.1"),
        "7-other-pixels": dicom(PIXELS[::-1], 2, PatientID="X", PatientBirthDate="19700101"),
    }
    for name, content in files.items():
        (ward / name).write_bytes(content)
    report = import_dicom(store, ward, gate)
    assert (report.imported, report.patients) == (4, 2)
    reasons = {item.source: (item.code, item.reason) for item in report.quarantined}
    assert set(reasons) == {"4-another-person", "5-changed-identifier", "7-other-pixels"}
    assert {code for code, _ in reasons.values()} == {"conflict"}
    assert "birth date" in reasons["4-another-person"][1] and "other content" in reasons["7-other-pixels"][1]
    assert store.shared_studies() == 1
    again = import_dicom(store, ward, gate)  # also against what is stored already
    assert [item.source for item in again.quarantined] == [item.source for item in report.quarantined]
    everybody = store.find_patient("HOSPITAL", "X"), store.find_patient("HOSPITAL", "Z")
    assert everybody[0] and everybody[1]
    store.merge(everybody[1], everybody[0])
    assert store.shared_studies() == 0
    released = release(store, gate, next(row.id for row in store.quarantined() if row.source == "4-another-person"))
    assert released.new and released.patient == everybody[0]  # somebody has decided that they are one


# ---- quarantine


def test_release_keeps_the_item_until_it_is_stored(store: Store, gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    private = "1.3.6.1.4.1.99999.1"
    (tmp_path / "ward" / "1").write_bytes(dicom(PIXELS, SOPClassUID=private))
    import_dicom(store, tmp_path / "ward", gate)
    (row,) = store.quarantined()
    assert row.code == "unsupported-class" and "extra_classes" in advice(row.code)
    with pytest.raises(RefusedIntakeError, match="still refused"):
        release(store, gate, row.id)
    assert len(store.quarantined()) == 1
    with Gate(classes=[private], workers=1) as wider:
        assert release(store, wider, row.id[:6]).new
    assert store.quarantined() == [] and store.count() == 1


def test_an_item_is_found_by_its_first_digits_or_not_at_all(store: Store) -> None:
    identifier = store.quarantine("x", "empty", "nothing in it", b"")
    assert chosen(store, identifier[:5]).id == identifier
    for wrong in ("", "zz"):
        with pytest.raises(IntakeError, match="nothing is quarantined"):
            chosen(store, wrong)


# ---- settings


def test_settings_are_written_once_and_read_back(tmp_path: Path) -> None:
    settings = IntakeSettings.of(tmp_path)
    assert settings == IntakeSettings() and IntakeSettings.of(tmp_path) == settings
    changed = IntakeSettings(peers=("PACS@10.0.0.7", "CT1"), watched='/odd "folder"', quiet_seconds=2.5, after="delete")
    changed.write(tmp_path / "intake.toml")
    assert IntakeSettings.of(tmp_path) == changed
    assert changed.allowed == (Peer("PACS", "10.0.0.7"), Peer("CT1"))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("prot = 104", "port"),
        ("port = 99999", "port"),
        ('peers = ["A TITLE THAT IS TOO LONG"]', "peers"),
        ('peers = ["PACS@pacs.hospital"]', "peers"),
        ('ae_title = ""', "ae_title"),
        ('after = "keep"', "after"),
        ('tls_certificate = "x.pem"', "tls_key"),
        ('dicomweb = "https://user:secret@pacs/"', "dicomweb"),
        ('extra_classes = ["../x"]', "extra_classes"),
        ("port = ", "intake.toml"),
    ],
)
def test_a_wrong_setting_is_one_line_with_file_key_and_fix(tmp_path: Path, line: str, named: str) -> None:
    (tmp_path / "intake.toml").write_text(line + "\n")
    with pytest.raises(IntakeSettingsError) as caught:
        IntakeSettings.of(tmp_path)
    assert named in str(caught.value) and "intake.toml" in str(caught.value) and caught.value.fix
