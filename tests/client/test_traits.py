"""Sex and band of age: from DICOM headers and tables into the store; sealed there, moved up, erased."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from closed_stores import on_database
from dicom_files import dataset, dicom
from PIL import Image
from sqlalchemy import Connection, text

from medquorum.client.errors import IntakeError, TamperError
from medquorum.client.gate import Gate
from medquorum.client.gate.traits import traits_of
from medquorum.client.intake import Column, Table, import_dicom, import_table
from medquorum.client.store import NewInstance, Store
from medquorum.privacy.subgroups import UNKNOWN, Traits

HEADERS: list[tuple[dict[str, Any], Traits]] = [
    ({"PatientSex": "F", "PatientAge": "061Y"}, Traits("F", 60)),
    ({"PatientSex": "m", "PatientAge": "008M"}, Traits("M", 0)),
    ({"PatientSex": "O", "PatientBirthDate": "19400615", "StudyDate": "20200614"}, Traits("O", 70)),
    ({"PatientSex": "", "PatientBirthDate": "19400614", "StudyDate": "20200614"}, Traits("", 80)),
    ({"PatientBirthDate": "20000101"}, Traits("", 18)),  # by the acquisition's date
    ({"PatientSex": "X", "PatientAge": "ABC"}, UNKNOWN),
    ({"PatientBirthDate": "19000101", "StudyDate": "20990101"}, UNKNOWN),
    ({}, UNKNOWN),
]


def read(store: Store) -> list[Traits]:
    stated = store.traits(row.id for row in store.instances())
    return [stated[row.id] for row in store.instances()]


@pytest.mark.parametrize(("elements", "traits"), HEADERS, ids=range(len(HEADERS)))
@pytest.mark.filterwarnings("ignore")
def test_what_a_header_says_of_its_patient(elements: dict[str, Any], traits: Traits) -> None:
    assert traits_of(dataset(**elements)) == traits


def taken_in(store: Store, ward: Path, gate: Gate) -> None:
    ward.mkdir()
    for number, (elements, _) in enumerate(HEADERS[:4]):
        (ward / f"{number}.dcm").write_bytes(dicom(number=number, **elements))
    assert import_dicom(store, ward, gate).imported == 4


def test_it_comes_in_with_a_file_and_is_not_in_what_is_kept_of_the_file(
    store: Store, tmp_path: Path, gate: Gate
) -> None:
    taken_in(store, tmp_path / "ward", gate)
    assert read(store) == [traits for _, traits in HEADERS[:4]]
    row = store.instances()[0]
    assert b"061Y" not in store.content(row.id)
    assert store.traits(["0" * 32]) == {}


def test_a_store_from_before_reads_it_off_the_headers_it_kept(tmp_path: Path, image: Any, gate: Gate) -> None:
    """Of images that came with a header the sex, and the age by birth date and study date; of others nothing."""
    with Store.create(tmp_path / "s", "a") as store:
        taken_in(store, tmp_path / "ward", gate)
        store.add(image(7, traits=Traits("F", 40)))

    def back(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE instances DROP COLUMN traits"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))

    on_database(tmp_path / "s", back)
    with Store.open(tmp_path / "s") as store:
        assert read(store) == [Traits("F"), Traits("M"), Traits("O", 70), Traits("", 80), UNKNOWN]
        store.verify()


def test_it_lies_under_the_patients_key_and_goes_with_it(tmp_path: Path, image: Any) -> None:
    with Store.create(tmp_path / "s", "a") as store:
        kept = store.add_many([image(1, traits=Traits("F", 40)), image(2, traits=Traits("M", 80)), image(3)])

    def stolen(connection: Connection) -> list[bytes | None]:
        return list(connection.scalars(text("SELECT traits FROM instances ORDER BY number")))

    first, second, third = on_database(tmp_path / "s", stolen)
    assert third is None and first is not None and b"sex" not in first
    on_database(tmp_path / "s", lambda c: c.execute(text("UPDATE instances SET traits = :t"), {"t": second}))
    with Store.open(tmp_path / "s") as store:
        with pytest.raises(TamperError):
            store.traits([kept[0].instance])  # pyright: ignore[reportAttributeAccessIssue]
        store.erase(kept[0].patient)  # pyright: ignore[reportAttributeAccessIssue]
        assert store.traits([kept[0].instance]) == {}  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / "s" / "store.db").execute("SELECT traits FROM instances").fetchall()


def table(folder: Path, *lines: str) -> Table:
    (folder / "labels.csv").write_text("\n".join(("file,patient,gender,years", *lines)) + "\n")
    return Table(folder / "labels.csv", sex=Column("gender"), age=Column("years"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        Image.new("L", (8, 8 + number), 90).save(tmp_path / f"{number}.png")
    return tmp_path


def test_a_table_may_state_it(store: Store, folder: Path) -> None:
    import_table(store, folder, table(folder, "0.png,A,F,61.5", "1.png,B,male,012Y", "2.png,C,,8M", "3.png,D,other,"))
    assert read(store) == [Traits("F", 60), Traits("M", 12), Traits("", 0), Traits("O")]


@pytest.mark.parametrize(
    ("line", "says"),
    [("1.png,B,2.0,", "'2.0' is no sex"), ("1.png,B,,old", "'old' is no age"), ("1.png,B,F,-3", "'-3' is no age")],
)
def test_a_cell_that_is_neither_imports_nothing(store: Store, folder: Path, line: str, says: str) -> None:
    with pytest.raises(IntakeError, match=f"row 3.*{says}|{says}.*row 3"):
        import_table(store, folder, table(folder, "0.png,A,F,", line))
    assert store.count() == 0


def test_a_new_instance_knows_nothing_unless_told(image: Any) -> None:
    made: NewInstance = image(1)
    assert made.traits == UNKNOWN
