"""A folder of received files, each complete, encrypted and on disk before its sender hears that it was accepted.

Any process that holds the node's secret may add to it (the receiver, the watched folder, a pull); whoever has the store
open takes from it. A file is written below a name of ours that ends in `.part` and renamed when it is whole, so that
what a sender that hung up, a full disk or a power cut left behind is never taken for a file.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Any, Self

from ..disk import DiskFullError, is_full
from ..errors import StoreError, TamperError
from ..keys import NodeKey, open_node_key, sync_folder
from .stream import SealingWriter, opened_chunks

_HEAD = Struct(">I")
_PART, _ENTRY, _DAMAGED = ".part", ".entry", ".damaged"
_LONGEST_SOURCE = 512


@dataclass(frozen=True, slots=True)
class Spooled:
    """One waiting file: its name in the spool, where it came from as the user knows it, and its bytes."""

    entry: str
    source: str
    content: bytes = field(repr=False)


class Spool:
    """The spool in `folder`, made when missing. free_bytes: what must stay free on its disk for a file to be begun."""

    def __init__(self, folder: Path, key: NodeKey, free_bytes: int = 0) -> None:
        self._folder = folder
        self._key = key.derive("spool")
        self._free_bytes = free_bytes
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as fault:
            raise self._fault(fault) from fault
        self._sweep()

    def begin(self, source: str) -> Arriving:
        """Start a file. Raises DiskFullError when there is too little room, StoreError when the folder is unusable."""
        try:
            if shutil.disk_usage(self._folder).free < self._free_bytes:
                raise DiskFullError(
                    "the disk is nearly full, and nothing more is received",
                    where=str(self._folder),
                    fix="free space on this disk; what was accepted is safe and the sender may send again",
                )
            # Names sort by arrival; their last part keeps two processes apart.
            name = f"{time.time_ns():020d}-{secrets.token_hex(8)}"
            return Arriving(self._folder / name, self._key, source)
        except OSError as fault:
            raise self._fault(fault) from fault

    def put(self, source: str, content: bytes) -> str:
        """Add a whole file; it is on disk when this returns."""
        with self.begin(source) as arriving:
            arriving.write(content)
            return arriving.finish()

    def waiting(self) -> list[str]:
        """The entries that wait, in order of arrival."""
        return sorted(path.stem for path in self._folder.glob(f"*{_ENTRY}"))

    def read(self, entry: str) -> Spooled:
        """One entry. TamperError when it is not what was received; it then stays beside the spool as `.damaged`."""
        path = self._folder / f"{entry}{_ENTRY}"
        try:
            content = b"".join(opened_chunks(path, self._key))
            (length,) = _HEAD.unpack_from(content)
            head: dict[str, Any] = json.loads(content[_HEAD.size : _HEAD.size + length])
            return Spooled(entry, str(head["source"]), content[_HEAD.size + length :])
        except TamperError:
            path.rename(path.with_suffix(_DAMAGED))
            raise
        except OSError as fault:
            raise self._fault(fault) from fault

    def remove(self, entry: str) -> None:
        """Forget an entry that the store or the quarantine holds."""
        (self._folder / f"{entry}{_ENTRY}").unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what dead processes left unfinished; a living one holds a lock on its own."""
        for part in self._folder.glob(f"*{_PART}"):
            try:
                descriptor = os.open(part, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink(missing_ok=True)
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)

    def _fault(self, fault: OSError) -> StoreError | DiskFullError:
        if is_full(fault):
            return full(self._folder)
        return StoreError(
            f"the spool cannot be used ({fault.strerror or fault})",
            where=str(self._folder),
            fix="check the folder's permissions and the disk",
        )


def full(folder: Path) -> DiskFullError:
    """The disk below `folder` is full."""
    return DiskFullError(
        "the disk is full; the file that was arriving was not accepted",
        where=str(folder),
        fix="free space on this disk; what was accepted is safe and the sender may send again",
    )


class Arriving:
    """A file on its way in. `finish` makes it count; leaving the block, or `discard`, without that leaves nothing."""

    def __init__(self, place: Path, key: bytes, source: str) -> None:
        self._place = place
        self._part = place.with_name(place.name + _PART)
        self._descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: Any = os.fdopen(self._descriptor, "wb", buffering=0, closefd=True)
        self.size = 0
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._writer = SealingWriter(_Whole(self._descriptor), key)
            head = json.dumps({"source": source[:_LONGEST_SOURCE]}).encode()
            self._writer.write(_HEAD.pack(len(head)) + head)
        except BaseException:
            self.discard()
            raise

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the file. Raises DiskFullError or StoreError, and then nothing of it is left."""
        try:
            self._writer.write(data)
            self.size += len(data)
        except OSError as fault:
            self.discard()
            raise self._fault(fault) from fault

    def finish(self) -> str:
        """Sync the file, give it its name, sync the folder; returns the entry. Raises as `write` does."""
        try:
            self._writer.finish()
            os.fsync(self._descriptor)
            entry = self._place.with_name(self._place.name + _ENTRY)
            self._part.rename(entry)
            sync_folder(self._place.parent)
            self._file.close()
        except OSError as fault:
            self.discard()
            raise self._fault(fault) from fault
        return entry.stem

    def discard(self) -> None:
        """Remove what there is of it. Does nothing once it is finished."""
        if not self._file.closed:
            self._part.unlink(missing_ok=True)
            # Renamed but perhaps not on disk: its sender will not hear that it was accepted.
            self._place.with_name(self._place.name + _ENTRY).unlink(missing_ok=True)
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def __del__(self) -> None:
        # An association that ends between a data set's last byte and its handling drops it without a word.
        if hasattr(self, "_file"):
            self.discard()

    def _fault(self, fault: OSError) -> StoreError | DiskFullError:
        if is_full(fault):
            return full(self._place.parent)
        return StoreError(
            f"a received file cannot be written ({fault.strerror or errno.errorcode.get(fault.errno or 0, '')})",
            where=str(self._place.parent),
            fix="check the folder's permissions and the disk",
        )


class _Whole:
    """Writes to a descriptor until everything is written, which a raw write need not do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return len(data)


def spool_of(node: Path, free_bytes: int = 0) -> Spool:
    """The spool of the node in this folder, opened with the node's key. Raises KeyFileError without it."""
    return Spool(node / "spool", open_node_key(node / "store"), free_bytes)
