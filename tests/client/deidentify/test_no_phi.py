"""No marked value survives: every element of the table, at every depth, in every character set and transfer syntax."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import hospitals
import numpy as np
import pytest
from phi_files import CHARACTER_SETS, Mark, Marked, haystack, marked_file, surviving
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from sqlalchemy import func, select

from medquorum.client.annotations import Annotation, new_id, utc_now
from medquorum.client.deidentify import Keys, Profile, deidentify, file_bytes
from medquorum.client.deidentify.table import table
from medquorum.client.export.research import write_research
from medquorum.client.export.results import Models, gather
from medquorum.client.gate import Gate, InProcess
from medquorum.client.intake import import_dicom
from medquorum.client.node import Node
from medquorum.client.pixels import UnreadableError, image_header, open_dicom, stored_frame
from medquorum.client.policy import Policy
from medquorum.client.store import schema
from medquorum.models.parameters import to_vector
from medquorum.privacy import wire
from medquorum.privacy.messages import Greeting, Invitation, Step

KEYS = Keys(b"a node's secret of 32 bytes long.")
ZOO = Path(__file__).resolve().parents[4] / "shared" / "data" / "dicom_zoo"
QUICK = ("ir100", "utf8", "jp13_87")
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}


def cleaned(content: bytes, profile: Profile | None = None) -> bytes:
    return file_bytes(deidentify(open_dicom(content), profile or Profile(), KEYS).dataset)


def named(marks: list[Mark]) -> list[tuple[str, str, str]]:
    return [(mark.place, f"{mark.tag:08X}", mark.vr) for mark in marks]


def check(marked: Marked) -> None:
    seen = haystack(marked.content)
    assert len(surviving(marked.marks, seen)) == len(marked.marks) > 5000  # what is looked for can be found
    out = cleaned(marked.content)
    assert named(surviving(marked.marks, haystack(out))) == []
    kept = open_dicom(out)
    assert kept.PatientIdentityRemoved == "YES" and kept.Rows == 20 and len(kept.PixelData) == 1200


@pytest.mark.parametrize("character_set", QUICK)
def test_nothing_marked_survives(character_set: str) -> None:
    check(marked_file(character_set))


@pytest.mark.slow
@pytest.mark.parametrize("character_set", sorted(CHARACTER_SETS.keys() - set(QUICK)))
def test_nothing_marked_survives_in_other_character_sets(character_set: str) -> None:
    check(marked_file(character_set))


@pytest.mark.parametrize("syntax", ["implicit", "big-endian", "deflated"])
def test_nothing_marked_survives_in_other_transfer_syntaxes(syntax: str) -> None:
    check(marked_file("ir144", SYNTAXES[syntax]))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "option",
    [
        "retain_patient_characteristics",
        "retain_uids",
        pytest.param("retain_device_identity", marks=SLOW),
        pytest.param("retain_institution_identity", marks=SLOW),
        pytest.param("clean_descriptors", marks=SLOW),
        pytest.param("clean_structured_content", marks=SLOW),
    ],
)
def test_an_option_keeps_what_the_table_says_and_nothing_else(option: str) -> None:
    marked = marked_file("none")
    column = {"clean_descriptors": "descriptors", "clean_structured_content": "structured", "retain_uids": "uids"}.get(
        option, option.split("_")[1]
    )
    left = surviving(marked.marks, haystack(cleaned(marked.content, Profile(**{option: True}))))
    rows = table().rows
    kept = {tag for tag, row in rows.items() if row.options.get(column) == "K"}
    places = {"top", "kept sequence", "two levels deep"}
    if column == "uids":
        # Unlisted UIDs, and those in the items of sequences, are UIDs as well.
        assert all(mark.vr == "UI" for mark in left)
    else:
        # Two dates may be one day: what is found of another element may be that of a kept one.
        rightly = b"\n".join(form for mark in left if mark.tag in kept for form in mark.forms)
        found = {mark.tag for mark in left if mark.place in places and mark.forms[0] not in rightly}
        assert found & rows.keys() == set()
    expected = {mark.tag for mark in marked.marks if mark.place == "top" and mark.tag in kept and mark.vr != "AS"}
    assert expected <= {mark.tag for mark in left if mark.place == "top"}
    # What is kept holds the name that every marked text does.
    elsewhere = [mark for mark in left if mark.place not in (*places, "native name")]
    assert not [mark for mark in elsewhere if mark.vr != "UI"]


def test_dates_can_be_kept_and_removed() -> None:
    marked = marked_file("none")
    kept = surviving(marked.marks, haystack(cleaned(marked.content, Profile(dates="keep"))))
    listed = {tag for tag, row in table().rows.items() if row.options.get("full_dates") == "K"}
    assert all(mark.tag in listed or mark.vr in ("DA", "TM", "DT") for mark in kept)
    assert listed <= {mark.tag for mark in kept}
    removed = cleaned(marked.content, Profile(dates="remove"))
    assert surviving(marked.marks, haystack(removed)) == []
    assert open_dicom(removed).LongitudinalTemporalInformationModified == "REMOVED"
    assert open_dicom(cleaned(marked.content)).LongitudinalTemporalInformationModified == "MODIFIED"


def dump(node: Node) -> bytes:
    """Every value in the open store's database, as bytes; what is sealed in it stays sealed."""
    connection = node.store._vault._engine.raw_connection()  # pyright: ignore[reportPrivateUsage]
    try:
        cursor = connection.cursor()
        names = [row[0] for row in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
        rows = [row for name in names for row in cursor.execute(f"SELECT * FROM {name}").fetchall()]
        return b"\n".join(v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row)
    finally:
        connection.close()


def test_the_node_keeps_and_says_nothing_marked(tmp_path: Path, gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    marked = marked_file("utf8")
    ward = tmp_path / "ward"
    ward.mkdir()
    (ward / "1.dcm").write_bytes(marked.content)
    (ward / "2.dcm").write_bytes(marked.content[:-700])  # quarantined
    with Node.create(tmp_path / "node", "hospital-a", Policy()) as node:
        report = import_dicom(node.store, ward, gate)
        assert (report.imported, len(report.quarantined)) == (1, 1)
        (row,) = node.store.instances()
        said = "\n".join(f"{item.code} {item.reason}" for item in report.quarantined)
        assert surviving(marked.marks, haystack(node.store.content(row.id))) == []
        assert surviving(marked.marks, dump(node)) == []
        # ... but in the encrypted map, from which a result finds its way back.
        original = node.store.original(row.id)
        assert (
            original is not None and "MQXA00100020" in original.patient_id and "MQXA00100010" in original.patient_name
        )
        patient = row.patient
    assert surviving(marked.marks, (caplog.text + said).encode()) == []
    on_disk = b"".join(path.read_bytes() for path in sorted((tmp_path / "node").rglob("*")) if path.is_file())
    assert len(on_disk) > len(marked.content)
    assert surviving(marked.marks, on_disk) == []
    with Node.open(tmp_path / "node") as node:
        node.store.erase(patient)
        with node.store._vault.transaction() as connection:  # pyright: ignore[reportPrivateUsage]
            assert connection.scalar(select(func.count()).select_from(schema.originals)) == 0


def test_what_leaves_the_node_holds_nothing_marked(tmp_path: Path) -> None:
    marked = marked_file("gb18030")
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / "1.dcm").write_bytes(marked.content)
    release = hospitals.make_release()
    plan = hospitals.make_plan(release, {"a": 5, "b": 8}, quorum=1)
    said: list[bytes] = []
    with hospitals.make_node(tmp_path / "node", "a", patients=4, held_out=2, epsilon_cap=500.0) as node:
        import_dicom(node.store, tmp_path / "ward", InProcess())
        row = node.store.instances()[-1]
        reading = Annotation(
            new_id(), row.id, 0, "reader", utc_now(), None, None, (("nodule", "present"),), (), 1, 1.0, None
        )
        node.store.annotate(reading)
        said.append(node.answer("query", wire.encode(Greeting())))
        said.append(node.answer("query", wire.encode(Invitation(wire.encode(plan), *release.to_bytes()))))
        assert row.id in {record.instance for record in node.store.frozen(plan.hash)}  # it takes part
        values = to_vector(release.network().trainable()).numpy().astype("<f4").tobytes()
        said.append(node.answer("train", wire.encode(Step(plan.hash, "update", 1, 1, values, b""))))
        assert len(said[-1]) > 1000
        told = gather(node.store, Models(node.releases), [row]).results[row.id]
        for form in ("csv", "coco"):
            made = write_research(tmp_path / form, form, told, findings=True, regions=True)
            said += [path.read_bytes() for path in made]
        assert any(row.id.encode() in text for text in said)
    assert named(surviving(marked.marks, b"\n".join(said))) == []


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"the DICOM zoo is not at {ZOO}")
def test_what_the_zoo_lists_as_identifying_is_gone() -> None:
    looked_at = 0
    with (ZOO / "manifest.csv").open(newline="", encoding="utf-8") as handle:
        for entry in csv.DictReader(handle):
            if entry["klass"] != "image" or not entry["phi"]:
                continue
            dataset = open_dicom((ZOO / entry["file"]).read_bytes())
            if "SOPInstanceUID" not in dataset:
                continue  # the gate refuses it
            done = deidentify(dataset, Profile(), KEYS).dataset
            again = open_dicom(file_bytes(done))
            for keyword in entry["phi"].split(","):
                before = str(dataset.get(keyword, "")).strip()
                if before:
                    looked_at += 1
                    assert str(again.get(keyword, "")).strip() != before, (entry["file"], keyword)
            names = [part for part in str(dataset.get("PatientName", "")).replace("=", "^").split("^") if len(part) > 5]
            text = haystack(file_bytes(done))
            assert not [name for name in names if name.encode() in text], entry["file"]
    assert looked_at > 20


@pytest.mark.skipif(not ZOO.is_dir(), reason=f"the DICOM zoo is not at {ZOO}")
def test_pixels_of_the_zoo_are_what_they_were() -> None:
    compared = 0
    for path in sorted((ZOO / "image").rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        try:
            dataset = open_dicom(content)
            header = image_header(dataset)
            before, space = stored_frame(dataset, header, 0)
        except UnreadableError:
            continue
        if "SOPInstanceUID" not in dataset:
            continue
        again = open_dicom(cleaned(content))
        after, space_after = stored_frame(again, image_header(again), 0)
        assert image_header(again) == header and space_after == space, path.name
        np.testing.assert_array_equal(after, before, path.name)
        compared += 1
    assert compared > 35
