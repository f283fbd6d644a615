"""At rest there is only ciphertext; what is changed is noticed, what is erased is gone, what is killed recovers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from sqlalchemy import Connection, text

from medquorum.client.annotations import Annotation, Proposal, new_id
from medquorum.client.errors import KeyFileError, StoreError, TamperError
from medquorum.client.keys import create_node_key, read_node_key
from medquorum.client.store import NewInstance, Store, schema
from medquorum.client.store.database import open_engine
from medquorum.client.store.sealing import Keyring

Image = Callable[..., NewInstance]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PLAN = b"\x01" * 32


def on_database(folder: Path, change: Callable[[Connection], Any]) -> Any:
    """Work on a closed store's database as somebody with the node's key could."""
    engine = open_engine(folder / "store.db", Keyring(read_node_key(folder / "node.key")).database)
    try:
        with engine.begin() as connection:
            return change(connection)
    finally:
        engine.dispose()


def without_triggers(statement: str) -> Callable[[Connection], None]:
    def change(connection: Connection) -> None:
        for name in connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        assert connection.execute(text(statement)).rowcount >= 1

    return change


def filled(folder: Path, image: Image) -> Path:
    """A closed store with three images, proposals, annotations, a consent, a quarantined file and a frozen plan."""
    with Store.create(folder, "hospital-a", 0.0) as store:
        kept = [store.add(image(n)) for n in range(3)]
        for one in kept:
            shown = Proposal(new_id(), one.instance, 0, "aa", True, "", (("MARKEDFINDING", 0.7),), (), NOW)
            store.add_proposals([shown])
            store.annotate(
                Annotation(
                    new_id(),
                    one.instance,
                    0,
                    "MARKEDREADER",
                    NOW,
                    "aa",
                    shown.id,
                    (("MARKEDFINDING", "present"),),
                    (),
                    1,
                    1.0,
                    None,
                )
            )
            store.cache_put(one.instance, "ready", b"MARKEDDERIVED")
        store.consent(kept[0].patient, "consent", date(2026, 1, 1))
        store.quarantine("MARKEDWARD/x.dcm", "truncated", "MARKEDREASON", b"MARKEDQUARANTINE")
        store.freeze(PLAN, NOW)
    return folder


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


def decrypted_pages(folder: Path) -> bytes:
    """The whole database file as plaintext, freed pages included.

    SQLCipher 4: pages of 4096 bytes, AES-256-CBC, the last 80 bytes of a page being IV (16) and HMAC (64); the first
    page begins with the salt (16 bytes).
    """
    key = Keyring(read_node_key(folder / "node.key")).database
    stored = (folder / "store.db").read_bytes()
    plain = bytearray()
    for start in range(0, len(stored), 4096):
        page = stored[start + (16 if start == 0 else 0) : start + 4096]
        decryptor = Cipher(algorithms.AES(key), modes.CBC(page[-80:-64])).decryptor()
        plain += decryptor.update(page[:-80]) + decryptor.finalize()
    return bytes(plain)


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


def asset_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "assets").rglob("*") if path.is_file())


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


# ---- erasure


def test_an_erased_patient_is_gone_and_the_chain_still_verifies(tmp_path: Path, image: Image) -> None:
    folder = filled(tmp_path / "s", image)
    with Store.open(folder) as store:
        head = store.head()
        gone, *others = store.patients()
        instance = store.instances(patient=gone.id)[0].id
        annotation = store.history(instance)[0].id
        erased = store.erase(gone.id)
        # import, proposal, annotation, consent
        assert (erased.patient, erased.instances, erased.events) == (gone.id, 1, 4)
        assert store.verify(head) == erased.head == store.head()
    with Store.open(folder) as store:
        store.verify(erased.head)
        assert [row.id for row in store.patients()] == [row.id for row in others]
        assert len(store.instances()) == len(store.current_annotations()) == len(store.proposals("aa")) == 2
        assert len(asset_files(folder)) == 2 + 1
        assert store.find(image(0).sop_uid) is None
        assert store.find_patient("HOSPITAL", "PATIENT0") is None
        assert {record.patient for record in store.frozen(PLAN)} == {row.id for row in others}
        assert store.history(instance) == []
        assert store.cache_get(instance, "ready") is None
        for ask in (lambda: store.content(instance), lambda: store.annotations([annotation])):
            with pytest.raises(StoreError):
                ask()
        with pytest.raises(StoreError, match="has been erased"):
            store.erase(gone.id)
        again = store.add(image(0))
        assert again.new
        assert again.patient != gone.id


def test_erasure_leaves_no_trace_of_the_key_or_the_identifiers_in_the_file(tmp_path: Path, image: Image) -> None:
    folder = filled(tmp_path / "s", image)
    with Store.open(folder) as store:
        patient = store.patients()[0].id
    rows = on_database(
        folder,
        lambda c: c.execute(
            text(
                "SELECT wrapped_key, blind, sealed FROM patients JOIN identifiers ON patient = id WHERE id = :p "
                "UNION ALL SELECT wrapped_key, blind, i.sealed FROM patients JOIN instances i ON patient = patients.id "
                "WHERE patients.id = :p"
            ),
            {"p": patient},
        ).all(),
    )
    secrets = [value for row in rows for value in row]
    assert len(secrets) == 6
    assert all(value in decrypted_pages(folder) for value in secrets)
    with Store.open(folder) as store:
        store.erase(patient)
        assert not any(value in decrypted_pages(folder) for value in secrets)


def test_erasing_a_merged_patient_erases_all_of_them(store: Store, image: Image) -> None:
    one, other = store.add(image(1)), store.add(image(2))
    store.merge(one.patient, other.patient)
    assert store.erase(other.patient).instances == 2
    assert (store.count(), store.patients()) == (0, [])
    store.verify()


# ---- keys, locks, versions


def test_the_key_file_is_private_and_says_when_it_is_not(tmp_path: Path) -> None:
    Store.create(tmp_path / "s", "a").close()
    key = tmp_path / "s" / "node.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    for mode in (0o640, 0o604, 0o620):
        key.chmod(mode)
        with pytest.raises(KeyFileError, match=f"mode {mode:04o}.*chmod 600 {key}"):
            Store.open(tmp_path / "s")
    key.chmod(0o400)
    Store.open(tmp_path / "s").close()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a node key"),
        (bytes(range(192, 256)), "not a node key"),
        (b"medquorum-node-key-1 abcd 00000000\n", "damaged"),
        (b"medquorum-node-key-1 " + b"ab" * 32 + b" 00000000\n", "damaged"),
    ],
)
def test_a_lost_or_damaged_key_gives_one_clear_line(tmp_path: Path, content: bytes, says: str) -> None:
    Store.create(tmp_path / "s", "a").close()
    key = tmp_path / "s" / "node.key"
    key.write_bytes(content)
    with pytest.raises(KeyFileError, match=says):
        Store.open(tmp_path / "s")
    key.unlink()
    with pytest.raises(KeyFileError, match="missing"):
        Store.open(tmp_path / "s")
    key.mkdir()
    with pytest.raises(KeyFileError, match="cannot be read"):
        Store.open(tmp_path / "s")


def test_a_node_key_shows_itself_to_nobody_and_is_never_overwritten(tmp_path: Path) -> None:
    key = create_node_key(tmp_path / "k")
    assert key == read_node_key(tmp_path / "k")
    assert key.secret.hex() not in repr(key)
    assert key.derive("a") != key.derive("b") != key.secret
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_node_key(tmp_path / "k")
    with pytest.raises(KeyFileError, match="cannot be written"):
        create_node_key(tmp_path / "nowhere" / "k")


def test_another_stores_key_does_not_open_this_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Store.create(tmp_path / "s", "a", key_file=tmp_path / "a.key").close()
    Store.create(tmp_path / "t", "b", key_file=tmp_path / "b.key").close()
    with pytest.raises(KeyFileError, match="does not open this store"):
        Store.open(tmp_path / "s", key_file=tmp_path / "b.key")
    assert capfd.readouterr() == ("", "")
    Store.open(tmp_path / "s", key_file=tmp_path / "a.key").close()


def test_a_store_is_open_once(tmp_path: Path) -> None:
    with (
        Store.create(tmp_path / "s", "a"),
        pytest.raises(StoreError, match=f"already open in process {os.getpid()}"),
    ):
        Store.open(tmp_path / "s")
    Store.open(tmp_path / "s").close()


def test_a_store_of_a_newer_medquorum_is_left_alone(tmp_path: Path) -> None:
    Store.create(tmp_path / "s", "a").close()
    on_database(tmp_path / "s", lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(StoreError, match=r"newer medquorum.*9999.*update medquorum"):
        Store.open(tmp_path / "s")
    version = on_database(tmp_path / "s", lambda c: c.scalar(text("SELECT version_num FROM alembic_version")))
    assert version == "9999"


def test_creating_and_opening_in_the_wrong_place_say_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        Store.open(tmp_path)
    Store.create(tmp_path / "s", "a").close()
    with pytest.raises(StoreError, match="there already"):
        Store.create(tmp_path / "s", "a")
    with pytest.raises(StoreError, match=r"share of 1\.5"):
        Store.create(tmp_path / "t", "a", 1.5)
    with pytest.raises(StoreError, match="no name"):
        Store.create(tmp_path / "t", "")
    with pytest.raises(StoreError, match="'never'"):
        Store.create(tmp_path / "t", "a", eligibility="never")  # pyright: ignore[reportArgumentType] # what is tested
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        Store.create(tmp_path / "file" / "s", "a")


# ---- interruptions


_ADDER = """
import os, sys
from pathlib import Path
from medquorum.client.store import NewInstance, Store
with Store.open(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    for n in range(0, 100000, 8):
        store.add_many([
            NewInstance("I", f"P{k}", f"1.{k}", f"1.{k}.1", f"1.{k}.1.1", "DX", "", "", "", 1, 1, 1, "", f"{k}",
                        "png", bytes([k % 256]) * 20000)
            for k in range(n, n + 8)
        ])
        print(n + 8, flush=True)
"""


@pytest.mark.parametrize("batches", [1, 3, 6])
def test_a_store_killed_in_the_middle_of_adding_is_whole(tmp_path: Path, batches: int) -> None:
    folder = tmp_path / "s"
    Store.create(folder, "a").close()
    adder = subprocess.Popen([sys.executable, "-c", _ADDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert adder.stdout is not None
    promised = 0
    for line in adder.stdout:
        promised = 0 if line == "ready\n" else int(line)
        if promised >= 8 * batches:
            break
    # Somewhere inside the next batch.
    time.sleep(0.004 * batches)
    adder.kill()
    for line in adder.stdout:
        promised = int(line)
    adder.wait()
    adder.stdout.close()
    with Store.open(folder) as store:
        rows = store.instances()
        assert len(rows) >= promised
        assert len(rows) % 8 == 0
        for number, row in enumerate(rows):
            assert store.content(row.id) == bytes([number % 256]) * 20000
        assert len(asset_files(folder)) == len(rows)
        assert list((folder / "incoming").iterdir()) == []
        store.verify()
        assert store.head().events == len(rows)


@pytest.mark.parametrize("committed", [True, False])
def test_what_a_kill_leaves_behind_is_finished_or_removed(tmp_path: Path, image: Image, committed: bool) -> None:
    folder = filled(tmp_path / "s", image)
    path = asset_files(folder)[0]
    name = path.name if committed else new_id()
    left = folder / "incoming" / name
    left.write_bytes(path.read_bytes())
    if committed:
        path.unlink()
    with Store.open(folder) as store:
        assert not left.exists()
        assert len(asset_files(folder)) == 4
        assert [store.content(row.id) for row in store.instances()] == [image(n).content for n in range(3)]
        assert store.quarantined_content(store.quarantined()[0].id) == b"MARKEDQUARANTINE"


def test_a_store_killed_while_being_created_says_so(tmp_path: Path) -> None:
    Store.create(tmp_path / "s", "a").close()
    on_database(tmp_path / "s", lambda c: c.execute(text("DELETE FROM settings")))
    with pytest.raises(StoreError, match="never finished"):
        Store.open(tmp_path / "s")


def test_a_disk_full_while_a_store_is_created_leaves_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: Connection, where: str, keys: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "other.txt").write_text("not the store's")
    with monkeypatch.context() as full, pytest.raises(StoreError, match="disk is full"):
        full.setattr("medquorum.client.store.vault.migrate", fail)
        Store.create(tmp_path / "s", "a")
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["other.txt"]
    Store.create(tmp_path / "s", "a").close()
    assert (tmp_path / "s" / "other.txt").exists()
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "node.key").write_text("a key of something else")
    with pytest.raises(KeyFileError, match="never overwritten"):
        Store.create(tmp_path / "t", "a")
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["node.key"]


def test_a_disk_full_while_files_are_written_stores_nothing_and_loses_nothing(
    store: Store, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(image(1))
    head = store.head()
    real, calls = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match=r"disk is full.*free space"):
        store.add_many([image(n) for n in range(2, 6)])
    monkeypatch.undo()
    assert list((store.folder / "incoming").iterdir()) == []
    assert (store.count(), store.head(), len(store.patients())) == (1, head, 1)
    assert all(not isinstance(one, StoreError) and one.new for one in store.add_many([image(n) for n in range(2, 6)]))
    assert store.content(store.instances()[-1].id) == image(5).content
    store.verify()


def test_a_disk_full_while_the_database_grows_stores_nothing(store: Store, image: Image) -> None:
    store.add(image(1))

    def limit(pages: int) -> None:
        with store._vault.transaction() as connection:  # pyright: ignore[reportPrivateUsage] # the only way to a small disk
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    limit(1)
    with pytest.raises(StoreError, match="disk is full"):
        for n in range(2, 400):
            store.add(image(n))
    kept = store.count()
    assert list((store.folder / "incoming").iterdir()) == []
    assert len(asset_files(store.folder)) == kept
    limit(1_000_000)
    store.add_many([image(n) for n in range(2, 10)])
    store.verify()


def test_files_that_cannot_be_moved_are_read_where_they_lie_and_moved_later(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with Store.create(tmp_path / "s", "a") as store:
        with monkeypatch.context() as full:
            full.setattr(Path, "rename", refuse)
            kept = store.add(image(1))
        assert store.content(kept.instance) == image(1).content
        assert asset_files(tmp_path / "s") == []
    with Store.open(tmp_path / "s") as store:
        assert store.content(kept.instance) == image(1).content
        assert len(asset_files(tmp_path / "s")) == 1
