"""What every part of the store works with: the database in one transaction at a time, the keys, the files."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, select

from ..audit_log import HEAD, LOG, AuditLog
from ..errors import StoreError
from ..keys import NodeKey
from . import schema
from .assets import FOLDERS, AssetFiles
from .cache import Cache
from .database import FolderLock, clear_errors, migrate, open_engine
from .sealing import Keyring, Seal

DATABASE = "store.db"
CACHE = "cache.db"
LOCK = "store.lock"


class Vault:
    """An open store's database, keys, files and cache. Safe to use from several threads; they take turns."""

    def __init__(self, folder: Path, key: NodeKey, audited: bool = True) -> None:
        self.folder = folder
        self.where = str(folder)
        self.keys = Keyring(key)
        self.audit = AuditLog(folder, key) if audited else None
        self._turn = threading.RLock()
        self._seals: dict[str, Seal] = {}
        self._owners: dict[str, str] = {}
        with clear_errors(self.where):
            self._lock = FolderLock(folder / LOCK)
            try:
                self._engine = open_engine(folder / DATABASE, self.keys.database)
                self._open()
            except BaseException:
                self._lock.release()
                raise

    def _open(self) -> None:
        try:
            with self._engine.begin() as connection:
                migrate(connection, self.where, self.keys)
            self.files = AssetFiles(self.folder)
            self.cache = Cache(self.folder / CACHE, self.keys.cache)
            self._recover()
        except BaseException:
            self._engine.dispose()
            raise

    def _recover(self) -> None:
        with self._engine.begin() as connection:

            def known(identifier: str) -> bool:
                asset = select(schema.assets.c.id).where(schema.assets.c.id == identifier)
                held = select(schema.quarantine.c.id).where(
                    schema.quarantine.c.id == identifier, schema.quarantine.c.wrapped_key.is_not(None)
                )
                return connection.scalar(asset.union(held)) is not None

            self.files.recover(known)

    @contextmanager
    def transaction(self) -> Generator[Connection, None, None]:
        """One transaction: committed and durable when the block ends, undone when it raises."""
        with self._turn, clear_errors(self.where), self._engine.begin() as connection:
            yield connection

    def remember(self, patient: str, seal: Seal) -> None:
        """Keep a patient's unwrapped data key for this session."""
        self._seals[patient] = seal

    def forget(self, patient: str) -> None:
        """Drop what this session remembers of an erased patient."""
        self._seals.pop(patient, None)
        self._owners = {instance: owner for instance, owner in self._owners.items() if owner != patient}

    def seal_of(self, connection: Connection, patient: str) -> Seal:
        """The patient's data key; StoreError when the patient is unknown or erased."""
        seal = self._seals.get(patient)
        if seal is None:
            wrapped = connection.scalar(select(schema.patients.c.wrapped_key).where(schema.patients.c.id == patient))
            if wrapped is None:
                raise StoreError(f"patient {patient} is unknown or erased", where=self.where)
            seal = self._seals[patient] = self.keys.data_key(patient, wrapped)
        return seal

    def owner(self, connection: Connection, instance: str) -> str:
        """The patient under whose key an instance lies; StoreError when there is no such instance."""
        owner = self._owners.get(instance)
        if owner is None:
            owner = connection.scalar(select(schema.instances.c.patient).where(schema.instances.c.id == instance))
            if owner is None:
                raise StoreError(
                    f"no instance {instance!r} is stored", where=self.where, fix="list them with Store.instances()"
                )
            self._owners[instance] = owner
        return owner

    def session_seal(self, patient: str) -> Seal:
        """As `seal_of`, outside a transaction."""
        seal = self._seals.get(patient)
        if seal is None:
            with self.transaction() as connection:
                seal = self.seal_of(connection, patient)
        return seal

    def session_owner(self, instance: str) -> str:
        """As `owner`, outside a transaction."""
        owner = self._owners.get(instance)
        if owner is None:
            with self.transaction() as connection:
                owner = self.owner(connection, instance)
        return owner

    def overwrite_deleted(self) -> None:
        """Bring deletions from the write-ahead log into the database, where secure_delete overwrites them."""
        with self._turn, clear_errors(self.where):
            raw = self._engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.close()

    def publish(self, identifiers: list[str]) -> None:
        """Move committed files to their places; where that fails (a full disk), the next opening does it."""
        with suppress(OSError):
            self.files.publish(identifiers)

    def close(self) -> None:
        """Close database and cache and give the folder back."""
        with self._turn:
            self.cache.close()
            self._engine.dispose()
            self._lock.release()


@contextmanager
def closed_on_failure(vault: Vault) -> Generator[None, None, None]:
    """Close the vault when the block raises."""
    try:
        yield
    except BaseException:
        vault.close()
        raise


def claim_folder(folder: Path) -> None:
    """Begin a store in `folder` by making its empty database; StoreError when one is there, however new."""
    try:
        os.close(os.open(folder / DATABASE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as fault:
        raise StoreError(
            "a store is there already", where=str(folder), fix="open it, or choose another folder"
        ) from fault


def remove_store(folder: Path) -> None:
    """Remove what an opened vault makes in its folder, and nothing else that lies there."""
    for database in (DATABASE, CACHE):
        for suffix in ("", "-wal", "-journal"):
            (folder / f"{database}{suffix}").unlink(missing_ok=True)
    for name in (LOCK, LOG, HEAD):
        (folder / name).unlink(missing_ok=True)
    for made in FOLDERS:
        shutil.rmtree(folder / made, ignore_errors=True)
