"""Opening a store: its key, its lock, its version, and one clear line when one of them is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from closed_stores import on_database
from sqlalchemy import text

from medquorum.client.errors import KeyFileError, StoreError
from medquorum.client.keys import create_node_key, read_node_key
from medquorum.client.store import Store


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
