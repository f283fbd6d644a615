"""Importing PNG and JPEG files by a table: one clear line for a mistake in it, quarantine for damaged images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medquorum.client.errors import IntakeError
from medquorum.client.intake import Column, Labels, Table, import_table
from medquorum.client.intake.table import READER
from medquorum.client.store import Store

LABELS = (Labels("opacity", "finding", ("Effusion", "Opacity"), ("*",), ("Maybe",), "|"),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "set"
    (made / "images").mkdir(parents=True)
    generator = np.random.default_rng(1)
    for number in range(4):
        pixels = generator.integers(0, 255, (12, 16 + number), np.uint8)
        Image.fromarray(pixels).save(made / "images" / f"{number}.{'png' if number % 2 else 'jpg'}")
    return made


def table(folder: Path, *lines: str, header: str = "file,patient,finding,view", **mapping: object) -> Table:
    path = folder.parent / "labels.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return Table(path, **mapping)  # pyright: ignore[reportArgumentType]


def test_rows_become_instances_and_labels_become_annotations(store: Store, folder: Path) -> None:
    mapped = table(
        folder,
        "images/0.jpg,A,Effusion|Nodule,pa",
        "images/1.png,A,Nodule,AP",
        "images\\2.jpg,B,Maybe,",
        "./images/3.png,B,,LL",
        labels=LABELS,
        view=Column("view"),
        body_part="chest",
    )
    report = import_table(store, folder, mapped)
    assert (report.imported, report.duplicates, report.patients, report.labelled) == (4, 0, 2, 3)
    rows = {row.source: row for row in store.instances()}
    assert [row.source for row in store.instances()] == ["images/0.jpg", "images/1.png", "images/2.jpg", "images/3.png"]
    assert (rows["images/1.png"].modality, rows["images/1.png"].body_part, rows["images/1.png"].view) == (
        "DX",
        "CHEST",
        "AP",
    )
    assert (rows["images/1.png"].rows, rows["images/1.png"].columns) == (12, 17)
    assert rows["images/0.jpg"].encoding == "jpeg"
    assert all(row.sop_uid.startswith("2.25.") and len(row.sop_uid) <= 64 for row in rows.values())
    told = {store.instance(at).source: annotation for (at, _), annotation in store.current_annotations().items()}
    assert {source: annotation.states for source, annotation in told.items()} == {
        "images/0.jpg": (("opacity", "present"),),
        "images/1.png": (("opacity", "absent"),),
        "images/2.jpg": (("opacity", "uncertain"),),
    }
    assert {(a.reader, a.actions, a.proposal) for a in told.values()} == {(READER, 0, None)}


def test_importing_again_changes_nothing(store: Store, folder: Path, tmp_path: Path) -> None:
    mapped = table(folder, "images/0.jpg,A,Opacity,", "images/1.png,A,Nodule,", labels=LABELS)
    import_table(store, folder, mapped)
    before = store.current_annotations()
    again = import_table(store, folder, mapped)
    assert (again.imported, again.duplicates, again.labelled) == (0, 2, 0)
    assert store.current_annotations() == before
    with Store.create(tmp_path / "other", "b") as other:
        import_table(other, folder, mapped)
        assert [row.sop_uid for row in other.instances()] == [row.sop_uid for row in store.instances()]


def test_damaged_images_are_quarantined_and_counted(store: Store, folder: Path) -> None:
    whole = (folder / "images/1.png").read_bytes()
    (folder / "images/1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "images/3.png").write_bytes(b"")
    report = import_table(store, folder, table(folder, "images/0.jpg,A,,", "images/1.png,A,,", "images/3.png,B,,"))
    assert report.imported == 1
    assert [item.source for item in report.quarantined] == ["images/1.png", "images/3.png"]
    assert report.quarantined[0].code in ("truncated", "undecodable") and report.quarantined[1].code == "empty"
    assert report.offered == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("images/9.png,A,,", "not in"),
        ("../set/images/1.png,A,,", "leads out of the folder"),
        ("/etc/hostname,A,,", "leads out of the folder"),
        ("C:\\images\\1.png,A,,", "leads out of the folder"),
        ("images,A,,", "not a file"),
        ("away.png,A,,", "leads out of the folder"),
        ("notes.txt,A,,", "not an image"),
        ("images/1.png,,,", "'patient' is empty"),
        (",A,,", "'file' is empty"),
        ("images/0.jpg,A,,", "listed twice, first in row 2"),
        ("images/1.png,A,Mass,", "'Mass', which finding 'opacity' does not know"),
    ],
)
def test_a_mistake_in_a_row_is_one_line_and_imports_nothing(store: Store, folder: Path, line: str, said: str) -> None:
    (folder / "notes.txt").write_text("no image")
    (folder / "away.png").symlink_to("/etc/hostname")
    labels = (Labels("opacity", "finding", ("Opacity",), ("No",)),)
    with pytest.raises(IntakeError) as caught:
        import_table(store, folder, table(folder, "images/0.jpg,A,No,", line, labels=labels))
    assert said in str(caught.value)
    assert "labels.csv, row 3" in caught.value.where and caught.value.fix
    assert "\n" not in str(caught.value)
    assert store.count() == 0


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"patient": "patiant"}, "no column 'patiant'"),
        ({"view": Column("projection")}, "no column 'projection'"),
        ({"labels": (Labels("opacity", "label", ("1",), ("0",)),)}, "no column 'label'"),
    ],
)
def test_a_missing_column_is_named_with_its_likely_meaning(
    store: Store, folder: Path, mapping: dict[str, object], said: str
) -> None:
    with pytest.raises(IntakeError) as caught:
        import_table(store, folder, table(folder, "images/0.jpg,A,,", **mapping))
    assert said in str(caught.value) and "labels.csv" in str(caught.value)
    if "patient" in mapping:
        assert "'patient'" in caught.value.fix


def test_a_table_that_is_none_is_one_clear_line(store: Store, folder: Path) -> None:
    with pytest.raises(IntakeError, match="no such table"):
        import_table(store, folder, Table(folder / "absent.csv"))
    with pytest.raises(IntakeError, match="no rows"):
        import_table(store, folder, table(folder))
    with pytest.raises(IntakeError, match="two columns"):
        import_table(store, folder, table(folder, "a,b,c", header="file,file,patient"))
    latin = folder.parent / "latin.csv"
    latin.write_bytes("file,patient\nimages/0.jpg,Müller\n".encode("latin-1"))
    with pytest.raises(IntakeError, match="not UTF-8"):
        import_table(store, folder, Table(latin))


def test_equal_images_of_two_patients_stay_two(store: Store, folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "images/1.png").read_bytes())
    report = import_table(store, folder, table(folder, "images/1.png,A,,", "copy.png,B,,"))
    assert (report.imported, report.patients) == (2, 2)
