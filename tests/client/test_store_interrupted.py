"""A store that is killed, or whose disk is full, has stored a batch whole or nothing of it, and recovers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from closed_stores import Image, asset_files, filled, on_database
from sqlalchemy import Connection, text

from medquorum.client.annotations import new_id
from medquorum.client.errors import KeyFileError, StoreError
from medquorum.client.store import Store

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
