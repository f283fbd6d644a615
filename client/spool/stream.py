"""A file encrypted while it arrives, in chunks, so that neither its plain bytes nor the whole of it are ever kept.

The STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizar 2015, CRYPTO) over AES-256-GCM: a key of the file's own,
derived from the spool's by a random salt (HKDF-SHA256), and as nonce the chunk's number and whether it is the last.
Chunks that are changed, left out, reordered or cut off at the end are noticed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import TamperError

CHUNK = 1 << 20
_MAGIC = b"MQW1"
_SALT_BYTES, _TAG_BYTES = 32, 16
_LENGTH = Struct(">I")


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=salt, info=b"medquorum spool entry").derive(key))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class Sink(Protocol):
    """Where encrypted bytes go; `write` takes all of them or raises."""

    def write(self, data: bytes, /) -> int:
        """Write everything."""
        ...


class SealingWriter:
    """Encrypts what is written to `file`; nothing of it counts until `finish` has written the last chunk."""

    def __init__(self, file: Sink, key: bytes) -> None:
        salt = os.urandom(_SALT_BYTES)
        self._cipher = _cipher(key, salt)
        self._file = file
        self._waiting = bytearray()
        self._number = 0
        file.write(_MAGIC + salt)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes; full chunks go to the file at once."""
        self._waiting += data
        while len(self._waiting) > CHUNK:
            piece = bytes(self._waiting[:CHUNK])
            del self._waiting[:CHUNK]
            self._chunk(piece, last=False)

    def finish(self) -> None:
        """Write the last chunk; the file's owner syncs it."""
        self._chunk(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _chunk(self, piece: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last), piece, None)
        self._number += 1
        self._file.write(_LENGTH.pack(len(sealed)) + sealed)


def opened_chunks(path: Path, key: bytes) -> Iterator[bytes]:
    """The plain chunks of a finished file; TamperError when anything of it is not as it was written."""
    with path.open("rb") as file:
        start = file.read(len(_MAGIC) + _SALT_BYTES)
        if len(start) < len(_MAGIC) + _SALT_BYTES or not start.startswith(_MAGIC):
            raise _damaged(path)
        cipher = _cipher(key, start[len(_MAGIC) :])
        number = 0
        while True:
            length = file.read(_LENGTH.size)
            if len(length) < _LENGTH.size:
                raise _damaged(path)
            (size,) = _LENGTH.unpack(length)
            if size > CHUNK + _TAG_BYTES:
                raise _damaged(path)
            sealed = file.read(size)
            after = file.read(1)
            last = not after
            try:
                yield cipher.decrypt(_nonce(number, last), sealed, None)
            except (InvalidTag, ValueError):
                raise _damaged(path) from None
            if last:
                return
            file.seek(-1, os.SEEK_CUR)
            number += 1


def _damaged(path: Path) -> TamperError:
    return TamperError(
        "a received file was changed or damaged while it waited, or was received under another key",
        where=str(path),
        fix="ask its sender to send it again",
    )
