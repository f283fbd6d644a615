"""What a disk may hold after the power failed: a recorded trace of file operations (recorder.c), played back as far as
some point, with any part of what was not yet synced left out.

The model is stricter than Linux file systems: bytes and lengths of a file last once that file was synced, names once
their folder was; before that any subset of the writes may have happened, and one may have happened in part, in sectors.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = struct.Struct("5q")
_SECTOR = 512


@dataclass(frozen=True)
class Operation:
    """One record: see recorder.c."""

    kind: str
    descriptor: int
    offset: int
    extra: int
    data: bytes


def read(log: Path) -> list[Operation]:
    """The operations of a log, in order."""
    held, at, operations = log.read_bytes(), 0, []
    while at < len(held):
        kind, descriptor, offset, extra, size = _HEAD.unpack_from(held, at)
        at += _HEAD.size
        operations.append(Operation(chr(kind), descriptor, offset, extra, held[at : at + size]))
        at += size
    return operations


@dataclass
class _File:
    lasting: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)


def _applied(content: bytearray, operation: Operation, upto: int) -> None:
    if operation.kind == "T":
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
        return
    end = operation.offset + upto
    content.extend(bytes(max(0, end - len(content))))
    content[operation.offset : end] = operation.data[:upto]


class Disk:
    """The files below `root` as operations reach them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._files: list[_File] = []
        self._names: dict[str, int] = {}  # as the running process sees them
        self._lasting: dict[str, int] = {}
        self._pending: list[tuple[str, int | None]] = []
        self._open: dict[int, int | str] = {}
        self.mark = -1
        self.unsynced = 0

    def apply(self, operation: Operation) -> None:
        """Let one operation happen."""
        kind, data = operation.kind, operation.data
        if kind == "M":
            self.mark = operation.offset
        elif kind == "O":
            path = data.decode()
            if operation.extra:
                self._files.append(_File())
                self._name(path, len(self._files) - 1)
            self._open[operation.descriptor] = self._names.get(path, path)
        elif kind == "C":
            self._open.pop(operation.descriptor)
        elif kind in "WT":
            self._file(operation.descriptor).pending.append(operation)
        elif kind == "S":
            self._sync(operation.descriptor)
        elif kind == "U":
            self._name(data.decode(), None)
        elif kind == "L":
            old, new = data.split(b"\0")
            self._name(new.decode(), self._names[old.decode()])
        self.unsynced = len(self._pending) + sum(len(file.pending) for file in self._files)

    def _file(self, descriptor: int) -> _File:
        index = self._open[descriptor]
        assert isinstance(index, int), "a folder is not written to"
        return self._files[index]

    def _name(self, path: str, index: int | None) -> None:
        if index is None:
            self._names.pop(path)
        else:
            self._names[path] = index
        self._pending.append((path, index))

    def _sync(self, descriptor: int) -> None:
        if isinstance(self._open[descriptor], str):
            for change in self._pending:
                _rename(self._lasting, change)
            self._pending.clear()
            return
        file = self._file(descriptor)
        for operation in file.pending:
            _applied(file.lasting, operation, len(operation.data))
        file.pending.clear()

    def after_power_cut(self, draw: random.Random) -> dict[str, bytes]:
        """One state that the disk may be in if the power fails now: contents by path."""
        share = draw.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        names = dict(self._lasting)
        for change in self._pending:
            if draw.random() < share:
                _rename(names, change)
        return {path: bytes(self._content(self._files[index], share, draw)) for path, index in names.items()}

    def _content(self, file: _File, share: float, draw: random.Random) -> bytearray:
        content = bytearray(file.lasting)
        for operation in file.pending:
            if draw.random() < share:
                size = len(operation.data)
                if draw.random() < 0.2:
                    size = min(size, _SECTOR * draw.randrange(1 + size // _SECTOR))
                _applied(content, operation, size)
        return content


def _rename(names: dict[str, int], change: tuple[str, int | None]) -> None:
    path, index = change
    if index is None:
        names.pop(path, None)
    else:
        names[path] = index


def power_cuts(
    operations: list[Operation], root: str, each: int, draw: random.Random
) -> Iterator[tuple[int, int, dict[str, bytes]]]:
    """States after every operation, `each` of them for each: the last mark, how much was unsynced, and the files."""
    disk = Disk(root)
    for operation in operations:
        disk.apply(operation)
        for _ in range(each):
            yield disk.mark, disk.unsynced, disk.after_power_cut(draw)
