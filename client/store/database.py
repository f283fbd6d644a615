"""Opening SQLCipher through SQLAlchemy, its schema through Alembic, and turning their failures into one clear line."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from sqlcipher3 import dbapi2 as _driver

from ..errors import NodeError, StoreBusyError, StoreError
from .sealing import Keyring

# The driver is a compiled module without types.
dbapi2: Any = _driver

_FULL = (errno.ENOSPC, errno.EDQUOT)


def connect(path: Path, key: bytes, synchronous: str) -> Any:
    """One SQLCipher connection to `path` under a raw 256-bit key.

    synchronous: "FULL" for what must survive a power cut once committed, "NORMAL" for what can be made again.
    secure_delete overwrites what is deleted, temporary tables never touch the disk, and locking_mode keeps every
    other process out while this one has the file. SQLCipher's own log is silenced: what it would print reaches the
    user as our one line.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = dbapi2.connect(str(path), isolation_level=None, check_same_thread=False)
    pragmas = (
        "cipher_log_level = NONE",
        f"key = \"x'{key.hex()}'\"",
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "foreign_keys = ON",
        "secure_delete = ON",
        "temp_store = MEMORY",
    )
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def open_engine(path: Path, key: bytes) -> Engine:
    """An engine of one connection; transactions are begun by us, since the driver would leave schema changes out."""
    engine = create_engine("sqlite://", creator=lambda: connect(path, key, "FULL"), module=dbapi2, poolclass=StaticPool)

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "begin", begin)
    return engine


def _config(connection: Connection, keys: Keyring) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["keys"] = keys
    return config


def migrate(connection: Connection, where: str, keys: Keyring) -> None:
    """Bring the schema to the newest version, inside the connection's own transaction; `keys` open what moves.

    Raises StoreError when the store was written by a newer medquorum.
    """
    config = _config(connection, keys)
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"the store was written by a newer medquorum (its schema is {current})",
            where=where,
            fix="update medquorum on this machine",
        )
    alembic.command.upgrade(config, "head")


@contextmanager
def clear_errors(where: str) -> Generator[None, None, None]:
    """Turn what SQLite, SQLAlchemy and the operating system raise into a StoreError of one line."""
    try:
        yield
    except NodeError:
        raise
    except DBAPIError as fault:
        raise _explained(str(fault.orig), where) from fault
    except dbapi2.Error as fault:
        raise _explained(str(fault), where) from fault
    except OSError as fault:
        if fault.errno in _FULL:
            raise _full(where) from fault
        place = str(fault.filename) if fault.filename else where
        raise StoreError(
            f"the store's files cannot be used ({fault.strerror or fault})",
            where=place,
            fix="check the folder's permissions and the disk",
        ) from fault


def _full(where: str) -> StoreError:
    return StoreError(
        "the disk is full; nothing of this step was stored",
        where=where,
        fix="free space on this disk, then repeat the step; it takes up where it stopped",
    )


def _explained(message: str, where: str) -> StoreError:
    if "disk is full" in message:
        return _full(where)
    if "not a database" in message:
        return StoreError(
            "the node's key does not open this store, or the database's first page is damaged",
            where=where,
            fix="put back the key file that belongs to this store, or restore the store from a backup",
        )
    if "malformed" in message or "disk I/O error" in message:
        return StoreError(
            f"the database is damaged ({message})", where=where, fix="check the disk and restore from a backup"
        )
    if "locked" in message:
        return StoreError("another process uses the store", where=where, fix="close it there first")
    if "readonly" in message or "unable to open" in message:
        return StoreError(f"the database cannot be used ({message})", where=where, fix="check the folder's permissions")
    return StoreError(f"the database refused a step ({message})", where=where, fix="report this line to the project")


class FolderLock:
    """The right to use a store's folder: held by one open store at a time, given back even when its process dies."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StoreBusyError(
                f"the store is already open in process {holder or 'unknown'}",
                where=str(path.parent),
                fix="close it there first",
            ) from fault
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the right back."""
        os.close(self._descriptor)
