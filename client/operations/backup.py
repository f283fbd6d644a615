"""A whole node in one encrypted file, and back.

A backup holds everything of the node's folder except its key, which must be kept elsewhere, and what is made again. It
is a tar archive encrypted under the node's key (spool/stream.py: nothing of it can be changed or left off), written
beside its name, read back, and only then given its name. The node must be stopped meanwhile, which is what makes it one
moment's state.

A restored node is its own past: its ledger may lack charges and its store may hold patients erased since. So it is
marked, and trains only after a peer has proved what its ledger lacks (witnesses.py), and erasures are repeated from
their certificates.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from ... import __version__
from ...privacy.ledger import Ledger
from ..accounts.book import FILE as ACCOUNTS
from ..accounts.book import Book
from ..audit_log import AuditLog, this_user
from ..desk.sessions import FILE as SESSIONS
from ..disk import DiskFullError, is_full
from ..errors import NodeError, StoreError, TamperError
from ..keys import (
    KEY_FILE,
    SEALED_SECRET,
    NodeKey,
    key_path,
    read_key,
    read_node_key,
    successor,
    sync_folder,
    write_key,
)
from ..spool.stream import SealingWriter, opened_chunks
from ..store import Store
from ..store.vault import CACHE, LOCK
from ..witnesses import Witnesses
from .certificate import read_certificates

_MANIFEST = "medquorum-backup.json"
_DATABASES = ("ledger.sqlite", "agreements.sqlite", "witnesses.sqlite", ACCOUNTS)
_LEFT_OUT = frozenset({f"store/{name}" for name in (KEY_FILE, successor(Path(KEY_FILE)).name, LOCK, CACHE)})
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. at: UTC in ISO 8601. charges: how many links the ledger had."""

    site: str
    at: str
    version: str
    images: int
    charges: int


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup. size: bytes of its file."""

    path: Path
    manifest: Manifest
    files: int
    size: int


def back_up(folder: Path, target: Path) -> Backup:
    """Write the node in `folder`, which must not be running, to `target`, a new file outside of it.

    Raises StoreError when the node is running, damaged or its key is wrong, NodeError when the target cannot be used,
    DiskFullError when it does not fit; nothing is left at the target then.
    """
    if target.exists():
        raise NodeError(
            "a file is there already", where=str(target), fix="choose another name, such as one with a date"
        )
    if target.absolute().is_relative_to(folder.absolute()):
        raise NodeError("the backup would lie inside the node", where=str(target), fix="choose another disk")
    key = _backup_key(read_key(key_path(folder / "store")))
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    with Store.open(folder / "store") as store, _whole_or_nothing(beside, target):
        store.verify()
        manifest = _manifest(store, Ledger.open(folder / "ledger.sqlite", store.setting("site")))
        store.trail.append("backup", this_user(), images=manifest.images, charges=manifest.charges)
        store.settle()
        files = _write(folder, beside, key, manifest)
        _read_back(beside, key, files)
        beside.rename(target)
        sync_folder(target.absolute().parent)
    return Backup(target, manifest, files, target.stat().st_size)


def restore(source: Path, folder: Path, key_file: Path | None = None, certificates: Path | None = None) -> Manifest:
    """Make the node of a backup in `folder`, which must not exist yet (or be empty).

    key_file: the key that the node had then, which is copied into the node; without it, the key is where keys.key_path
    says, and stays there. certificates: a folder of erasure certificates; the patients of those that this site signed
    are erased again. Raises StoreError when the key does not open the backup or the folder is in use, TamperError when
    the backup is damaged; then `folder` is as it was.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(
            "a backup is not restored over what is there", where=str(folder), fix="name a new folder, or move it away"
        )
    key = read_key(key_file or key_path(folder / "store"))
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    made = folder.absolute().with_name(f".{folder.name}.{os.getpid()}.restoring")
    try:
        made.mkdir(mode=0o700)
        manifest = _extract(source, _backup_key(key), made)
        placed = made / "store" / KEY_FILE
        if key_file is not None:
            write_key(placed, key)
        _forget_sessions(made)
        _prove(made, None if key_file is None else placed, manifest, certificates)
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
        sync_folder(folder.absolute().parent)
    except OSError as fault:
        raise _disk(fault, folder) from fault
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return manifest


def _backup_key(key: bytes) -> bytes:
    # Of the key itself rather than of the secret that it seals: who destroys an old key has destroyed its backups.
    return NodeKey(key).derive("backup")


def _manifest(store: Store, ledger: Ledger) -> Manifest:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(store.setting("site"), at, __version__, store.count(), len(ledger.book().links))


@contextmanager
def _whole_or_nothing(beside: Path, target: Path) -> Generator[None]:
    try:
        yield
    except OSError as fault:
        raise _disk(fault, target) from fault
    finally:
        beside.unlink(missing_ok=True)


def _disk(fault: OSError, where: Path) -> NodeError:
    if is_full(fault):
        return DiskFullError("it does not fit on this disk", where=str(where), fix="free space, or name another disk")
    return NodeError(f"it cannot be written ({fault.strerror or fault})", where=str(where), fix="check its folder")


def _files(folder: Path) -> Iterator[Path]:
    """Every regular file that belongs into a backup, in a fixed order (the audit log's head before the log itself)."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            passing = name.endswith(("-wal", "-journal", "-shm", ".part", ".sock"))
            if relative not in _LEFT_OUT and not passing and path.is_file() and not path.is_symlink():
                yield path


def _write(folder: Path, beside: Path, key: bytes, manifest: Manifest) -> int:
    """Write the archive; returns how many files are in it."""
    count = 0
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        sealing = SealingWriter(file, key)
        with tarfile.open(fileobj=_Out(sealing), mode="w|", format=tarfile.PAX_FORMAT) as tar:
            about = json.dumps(asdict(manifest)).encode()
            tar.addfile(_member(_MANIFEST, len(about)), io.BytesIO(about))
            for path in _files(folder):
                with _still(path), path.open("rb") as content:
                    size = os.fstat(content.fileno()).st_size
                    tar.addfile(_member(path.relative_to(folder).as_posix(), size), content)
                count += 1
        sealing.finish()
        file.flush()
        os.fsync(file.fileno())
    return count


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


@contextmanager
def _still(path: Path) -> Generator[None]:
    """While this lasts nothing writes to a database file, and nothing half-written lies beside it."""
    if path.name not in _DATABASES:
        yield
        return
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def _read_back(beside: Path, key: bytes, files: int) -> None:
    found = sum(1 for _ in _members(beside, key)) - 1
    if found != files:
        raise TamperError(
            f"the backup reads back with {found} files of {files}", where=str(beside), fix="check the disk; try again"
        )


def _members(source: Path, key: bytes) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """Each file of an archive with its content, to be read before the next is asked for; what was not read is read
    here, so that all of the archive is authenticated."""
    with tarfile.open(fileobj=_In(source, key), mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is None:
                raise TamperError(f"the backup holds {member.name!r}, which is no file", where=str(source))
            pieces = iter(lambda content=content: content.read(_PIECE), b"")
            yield member, pieces
            for _ in pieces:
                pass


def _extract(source: Path, key: bytes, folder: Path) -> Manifest:
    manifest: Manifest | None = None
    for member, pieces in _members(source, key):
        if manifest is None:
            manifest = Manifest(**json.loads(b"".join(pieces)))
            continue
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise TamperError(f"the backup holds a file named {member.name!r}", where=str(source))
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
    if manifest is None:
        raise TamperError("the backup is empty", where=str(source), fix="take another backup")
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sync_folder(place)
    return manifest


def _forget_sessions(folder: Path) -> None:
    """Nobody is signed in at a restored node: who was put out since the backup would be in again."""
    (folder / SESSIONS).unlink(missing_ok=True)
    if (folder / ACCOUNTS).is_file():
        book = Book(folder)
        try:
            book.end_all_sessions()
        finally:
            book.close()


def _prove(folder: Path, key_file: Path | None, manifest: Manifest, certificates: Path | None) -> None:
    """Open what was restored, check it whole, mark it as restored, and repeat the erasures."""
    from ..network.settings import NetworkSettings

    secret = read_node_key(key_file or key_path(folder / "store"), folder / "store" / SEALED_SECRET)
    with Store.open(folder / "store", key_file=key_file) as store:
        store.verify()
        log = AuditLog(
            folder / "store", read_node_key(key_file or key_path(folder / "store"), folder / "store" / SEALED_SECRET)
        )
        log.verify(store.audit_head())
        Ledger.open(folder / "ledger.sqlite", store.setting("site"))
        Witnesses(folder / "witnesses.sqlite").doubt()
        store.trail.append("restore", this_user(), made=manifest.at, charges=manifest.charges)
        if certificates is not None:
            known, own = {row.id for row in store.patients()}, NetworkSettings(folder, secret).identity().public
            for one in read_certificates(certificates):
                if one.key == own and one.erasure.patient in known:
                    store.erase(one.erasure.patient)


class _Out(io.RawIOBase):
    """What tarfile writes to."""

    def __init__(self, sealing: SealingWriter) -> None:
        self._sealing = sealing

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]  # tarfile's are bytes
        self._sealing.write(data)
        return len(data)


class _In(io.RawIOBase):
    """What tarfile reads from: the archive's plain bytes, with errors that speak of a backup."""

    def __init__(self, source: Path, key: bytes) -> None:
        self._source = source
        self._chunks = opened_chunks(source, key)
        self._held = b""
        self._any = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        self._held = self._held or self._next()
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def _next(self) -> bytes:
        try:
            found = next(self._chunks, b"")
        except OSError as fault:
            raise StoreError(
                f"the backup cannot be read ({fault.strerror})", where=str(self._source), fix="check its name"
            ) from fault
        except TamperError as fault:
            if not self._any:
                raise StoreError(
                    "this is no backup that this key opens",
                    where=str(self._source),
                    fix="give the key that the node had when the backup was made",
                ) from fault
            raise TamperError(
                "the backup is damaged or cut", where=str(self._source), fix="take another backup"
            ) from fault
        self._any = True
        return found
