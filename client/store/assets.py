"""Image bytes on disk: one AES-GCM file for each object, under a name of ours, never one that was received.

A batch is first written and synced below incoming/, then its rows are committed, then the files are moved to their
places. Whatever interrupts this, the committed rows decide: `recover` moves the files they name and removes the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import TamperError
from ..keys import sync_folder
from .sealing import Seal

_MAGIC = b"MQA1"
FOLDERS = _PLACES, _INCOMING = ("assets", "incoming")
_WRITERS = 8


@dataclass(frozen=True, slots=True)
class NewAsset:
    """A file to be written: its object id and version (both authenticated), its owner's key, its content."""

    id: str
    version: int
    seal: Seal
    content: bytes = field(repr=False)


class AssetFiles:
    """The encrypted files below a store's folder."""

    def __init__(self, folder: Path) -> None:
        self._places = folder / _PLACES
        self._incoming = folder / _INCOMING
        self._places.mkdir(mode=0o700, exist_ok=True)
        self._incoming.mkdir(mode=0o700, exist_ok=True)
        self._made: set[Path] = set()

    def _place(self, identifier: str) -> Path:
        return self._places / identifier[:2] / identifier

    def stage(self, batch: Sequence[NewAsset]) -> None:
        """Write and sync a batch below incoming/. On any failure nothing of it is left behind."""

        def write(asset: NewAsset) -> None:
            sealed = asset.seal.seal(asset.content, "asset", asset.id, str(asset.version))
            descriptor = os.open(self._incoming / asset.id, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                file.write(_MAGIC)
                rest = memoryview(sealed)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())

        try:
            # Waiting for the disk is what takes the time, so that several files wait together.
            with ThreadPoolExecutor(min(_WRITERS, max(1, len(batch)))) as writers:
                for _ in writers.map(write, batch):
                    pass
            sync_folder(self._incoming)
        except BaseException:
            self.unstage(batch)
            raise

    def unstage(self, batch: Sequence[NewAsset]) -> None:
        """Remove a staged batch whose rows were not committed."""
        for asset in batch:
            (self._incoming / asset.id).unlink(missing_ok=True)

    def publish(self, identifiers: Sequence[str]) -> None:
        """Move staged files, whose rows are committed, to their places.

        A failure here loses nothing: the files are read where they lie, and moved when the store is next opened.
        """
        for identifier in identifiers:
            place = self._place(identifier)
            if place.parent not in self._made:
                place.parent.mkdir(mode=0o700, exist_ok=True)
                self._made.add(place.parent)
            (self._incoming / identifier).rename(place)

    def recover(self, known: Callable[[str], bool]) -> None:
        """Finish what an interrupted process left below incoming/; `known` says which ids have a committed row."""
        for left in sorted(self._incoming.iterdir()):
            if known(left.name):
                self.publish([left.name])
            else:
                left.unlink()

    def read(self, identifier: str, version: int, seal: Seal) -> bytes:
        """A file's content; TamperError when it is missing, damaged or another object's."""
        place = self._place(identifier)
        try:
            stored = (place if place.exists() else self._incoming / identifier).read_bytes()
        except FileNotFoundError as fault:
            raise TamperError(
                "a stored file is missing", where=str(place), fix="restore the store from a backup"
            ) from fault
        if not stored.startswith(_MAGIC):
            raise TamperError(
                "a stored file is not one of the store's", where=str(place), fix="restore the store from a backup"
            )
        return seal.open(stored[len(_MAGIC) :], "asset", identifier, str(version))

    def remove(self, identifiers: Sequence[str]) -> None:
        """Unlink files whose rows are gone; what is unlinked already is fine."""
        for identifier in identifiers:
            self._place(identifier).unlink(missing_ok=True)
            (self._incoming / identifier).unlink(missing_ok=True)
