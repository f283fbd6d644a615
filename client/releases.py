"""The releases a node holds, by hash, and which of them proposes today."""

from __future__ import annotations

import os
from pathlib import Path

from ..models import checkpoint
from ..models.checkpoint import Release
from .errors import NodeError
from .keys import sync_folder


class ReleaseError(NodeError):
    """A release that should be in the node's folder is not there, or is not what its name says."""


class Releases:
    """A folder of releases; each is written once under its hash and never changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def keep(self, release: Release) -> None:
        """Write the release under its hash, unless it is there."""
        target = self._folder / release.hash.hex()
        if target.exists():
            return
        beside = self._folder / f".{target.name}.{os.getpid()}"
        checkpoint.save(release, beside)
        beside.rename(target)
        sync_folder(self._folder)

    def get(self, release_hash: bytes) -> Release:
        """Read a release; ReleaseError when it is missing or its content has another hash."""
        target = self._folder / release_hash.hex()
        if not target.is_dir():
            raise ReleaseError("the node does not hold this release", where=target.name, fix="take part again")
        release = checkpoint.load(target)
        if release.hash != release_hash:
            raise ReleaseError("the release was changed on disk", where=str(target), fix="remove its folder")
        return release

    def adopt(self, release: Release) -> None:
        """Keep the release and let it propose from now on."""
        self.keep(release)
        beside = self._folder / f".current.{os.getpid()}"
        beside.write_text(release.hash.hex(), encoding="ascii")
        beside.replace(self._folder / "current")
        sync_folder(self._folder)

    def current(self) -> Release | None:
        """The release that proposes; None before one was adopted."""
        named = self.current_hash()
        return None if named is None else self.get(named)

    def current_hash(self) -> bytes | None:
        """The hash of the release that proposes, without reading it; None before one was adopted."""
        pointer = self._folder / "current"
        if not pointer.exists():
            return None
        return bytes.fromhex(pointer.read_text(encoding="ascii"))
