"""At rest there is only ciphertext, and what is changed, moved or cut off is noticed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from closed_stores import Image, asset_files, decrypted_pages, filled, on_database, without_triggers
from sqlalchemy import Connection, text

from medquorum.client.errors import StoreError, TamperError
from medquorum.client.store import NewInstance, Store, schema


def marked(image: Image) -> Image:
    def make(number: int = 0, **changes: Any) -> NewInstance:
        return image(
            number,
            patient_issuer="MARKEDISSUER",
            patient_id=f"MARKEDPATIENT{number}",
            study_uid=f"1.2.777777.1.{number}",
            series_uid=f"1.2.777777.2.{number}",
            sop_uid=f"1.2.777777.3.{number}",
            acquired="MARKEDDATE",
            source=f"MARKEDSOURCE/{number}.dcm",
            content=b"MARKEDCONTENT%d" % number,
            **changes,
        )

    return make


def every_byte(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_nothing_on_disk_can_be_read(tmp_path: Path, image: Image) -> None:
    folder = filled(tmp_path / "s", marked(image))
    files = [path for path in folder.rglob("*") if path.is_file()]
    # Database, cache, lock, key, sealed secret, audit log and its head; three images and one file in quarantine.
    assert len(files) == 7 + 3 + 1
    assert b"MARKED" not in every_byte(folder)
    assert b"1.2.777777" not in every_byte(folder)
    assert b"SQLite format" not in every_byte(folder)
    assert not any("MARKED" in str(path) or "777777" in str(path) for path in files)
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path


def test_inside_the_database_identifiers_are_ciphertext_too(tmp_path: Path, image: Image) -> None:
    folder = filled(tmp_path / "s", marked(image))
    plain = decrypted_pages(folder)
    assert b"hospital-a" in plain
    assert b"MARKED" not in plain
    assert b"1.2.777777" not in plain


def test_migrations_make_exactly_the_schema(tmp_path: Path) -> None:
    Store.create(tmp_path / "s", "a").close()

    def differences(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(context, schema.metadata)

    assert on_database(tmp_path / "s", differences) == []


def test_the_constraints_that_alembic_does_not_compare_are_there(tmp_path: Path) -> None:
    Store.create(tmp_path / "s", "a").close()
    statements = on_database(tmp_path / "s", lambda c: c.scalars(text("SELECT sql FROM sqlite_master")).all())
    made = " ".join(statement for statement in statements if statement)
    for table in schema.metadata.sorted_tables:
        for constraint in table.constraints:
            assert str(constraint.name) in made, constraint.name


@pytest.mark.parametrize("table", ["events", "freezes", "frozen_records"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET rowid = rowid + 100"])
def test_the_database_itself_refuses_to_change_what_was_said(
    tmp_path: Path, image: Image, table: str, change: str
) -> None:
    folder = filled(tmp_path / "s", image)
    with pytest.raises(Exception, match="append-only"):
        on_database(folder, lambda connection: connection.execute(text(change.format(table))))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE events SET sealed = zeroblob(60) WHERE seq = 4", "event 4"),
        ("UPDATE events SET at = at + 1 WHERE seq = 2", "event 2"),
        ("UPDATE events SET target = (SELECT target FROM events WHERE seq = 1) WHERE seq = 6", "event 6"),
        ("DELETE FROM events WHERE seq = 3", "event 3"),
        ("DELETE FROM frozen_records WHERE position = 1", "frozen"),
        ("UPDATE frozen_records SET frame = 1 WHERE position = 0", "frozen"),
        ("UPDATE freezes SET digest = zeroblob(32)", "frozen"),
    ],
)
def test_a_changed_event_or_frozen_set_is_noticed(tmp_path: Path, image: Image, change: str, says: str) -> None:
    folder = filled(tmp_path / "s", image)
    with Store.open(folder) as store:
        head = store.verify()
        assert head == store.head()
    on_database(folder, without_triggers(change))
    with Store.open(folder) as store, pytest.raises(TamperError, match=says):
        store.verify(head)


def test_events_cut_off_the_end_are_noticed_by_who_remembers_the_head(tmp_path: Path, image: Image) -> None:
    folder = filled(tmp_path / "s", image)
    with Store.open(folder) as store:
        before = store.head()
        store.quarantine("a", "b", "c", None)
        after = store.head()
    on_database(folder, without_triggers("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)"))
    with Store.open(folder) as store:
        assert store.verify() == store.verify(before) == before
        with pytest.raises(TamperError, match="witnessed"):
            store.verify(after)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE instances SET sealed = (SELECT sealed FROM instances WHERE number = 1) WHERE number = 2",
        "UPDATE patients SET wrapped_key = (SELECT wrapped_key FROM patients WHERE number = 1) WHERE number = 2",
    ],
)
def test_ciphertext_moved_to_another_row_is_noticed(tmp_path: Path, image: Image, change: str) -> None:
    folder = filled(tmp_path / "s", image)
    on_database(folder, without_triggers(change))
    with Store.open(folder) as store, pytest.raises(TamperError, match="authentication tag"):
        store.instances()


@pytest.mark.parametrize("position", [0, 5, 20, -1])
def test_a_flipped_bit_in_an_image_file_is_noticed(tmp_path: Path, image: Image, position: int) -> None:
    folder = filled(tmp_path / "s", image)
    for path in asset_files(folder):
        stored = bytearray(path.read_bytes())
        stored[position] ^= 1
        path.write_bytes(stored)
    with Store.open(folder) as store:
        for row in store.instances():
            with pytest.raises(TamperError, match="Fix: restore"):
                store.content(row.id)


def test_exchanged_cut_and_missing_image_files_are_noticed(tmp_path: Path, image: Image) -> None:
    folder = tmp_path / "s"
    with Store.create(folder, "a") as store:
        kept = [store.add(image(n, patient_id="SAME")) for n in range(3)]
        one, other, last = asset_files(folder)
        bytes_of_one = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(bytes_of_one)
        last.write_bytes(last.read_bytes()[:20])
        for path in kept:
            with pytest.raises(TamperError):
                store.content(path.instance)
        last.unlink()
        faults: list[str] = []
        for path in kept:
            with pytest.raises(TamperError) as fault:
                store.content(path.instance)
            faults.append(str(fault.value))
        assert sum("missing" in fault for fault in faults) == 1


def test_a_damaged_database_page_is_noticed(tmp_path: Path, image: Image) -> None:
    folder = filled(tmp_path / "s", image)
    path = folder / "store.db"
    pages = path.stat().st_size // 4096
    stored = bytearray(path.read_bytes())
    for page in range(1, pages):
        stored[page * 4096 + 100] ^= 1
    path.write_bytes(stored)
    with pytest.raises(StoreError, match=r"damaged|does not open"):
        Store.open(folder)


def test_a_tampered_or_lost_cache_costs_only_time(tmp_path: Path, image: Image) -> None:
    folder = filled(tmp_path / "s", image)
    (folder / "cache.db").unlink()
    with Store.open(folder) as store:
        row = store.instances()[0]
        assert store.cache_get(row.id, "ready") is None
        store.cache_put(row.id, "ready", b"again")
        assert store.cache_get(row.id, "ready") == b"again"
    (folder / "cache.db").write_bytes(os.urandom(8192))
    with pytest.raises(StoreError, match=r"cache\.db \(may be deleted"):
        Store.open(folder)
