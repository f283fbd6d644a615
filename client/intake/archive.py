"""A ZIP file's members as files, inside bounds: a few kilobytes of one can unpack to petabytes.

What the archive's own directory says of sizes is not believed; each member is unpacked no further than a file may be
large, and all of them together no further than the archive may be. Members inside members are not unpacked.
"""

from __future__ import annotations

import threading
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import IntakeError
from ..pixels import Limits, UnreadableError
from .files import Source

MOST_MEMBERS = 500_000
MOST_BYTES = 256 << 30
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many members an archive may have, and how many bytes they may unpack to together."""

    members: int = MOST_MEMBERS
    total: int = MOST_BYTES


class Archive:
    """An open ZIP file, read from several threads."""

    def __init__(self, path: Path, limits: Limits, bounds: Bounds | None = None) -> None:
        """Raises IntakeError when the file is no ZIP, is damaged, or holds too many members."""
        self._limits = limits
        self._left = (bounds or Bounds()).total
        self._turn = threading.Lock()
        try:
            self._file = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as fault:
            raise IntakeError(
                f"the archive cannot be opened ({fault})", where=str(path), fix="make the ZIP file again"
            ) from fault
        members = [member for member in self._file.infolist() if not member.is_dir()]
        if len(members) > (bounds or Bounds()).members:
            self._file.close()
            raise IntakeError(f"the archive has {len(members)} members", where=str(path), fix="unpack and import parts")
        self.sources = [Source(member.filename, partial(self._read, member)) for member in members]

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        if member.flag_bits & 0x1:
            raise UnreadableError("unreadable-file", "it is encrypted; unpack the archive first")
        if member.compress_type not in _METHODS:
            raise UnreadableError("unreadable-file", "it is compressed in a way that is not unpacked here")
        pieces: list[bytes] = []
        size = 0
        try:
            with self._file.open(member) as opened:
                while piece := opened.read(_PIECE):
                    size += len(piece)
                    self._charge(len(piece))
                    if size > self._limits.file_bytes:
                        raise UnreadableError(
                            "too-large", f"it unpacks to more than the {self._limits.file_bytes} bytes allowed"
                        )
                    pieces.append(piece)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError) as fault:
            raise UnreadableError("unreadable-file", f"it does not unpack ({fault})") from fault
        return b"".join(pieces)

    def _charge(self, size: int) -> None:
        with self._turn:
            self._left -= size
            if self._left < 0:
                raise UnreadableError("too-large", "the archive unpacks to more than an archive may")
