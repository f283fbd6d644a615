"""Results as files in a folder: written whole, synced, read again from the disk, and only then called saved.

The files carry the patients' identifiers, as they would in the PACS; nobody but the node's user may read them.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..keys import sync_folder
from .destination import Proof
from .errors import ExportRequestError, NotTakenError
from .objects import Made
from .reading_back import check


class FolderDestination:
    """A folder that is made (mode 0700) when missing. Raises ExportRequestError where that cannot be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        require_folder(folder)

    @property
    def name(self) -> str:
        return str(self._folder.resolve())

    @property
    def remembered(self) -> bool:
        return False

    def holds(self, made: Made) -> bool:
        path = self._path(made)
        return path.is_file() and path.read_bytes() == made.data

    def save(self, made: Made) -> Proof:
        path = self._path(made)
        if path.exists() and not self.holds(made):
            raise NotTakenError("another file is there under this object's name", where=str(path), fix="move it away")
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(made.data)
                file.flush()
                os.fsync(file.fileno())
            check(beside.read_bytes(), made.meant, str(path))
            beside.replace(path)
            sync_folder(self._folder)
        finally:
            beside.unlink(missing_ok=True)
        return "read back"

    def close(self) -> None:
        """Nothing is kept open."""

    def _path(self, made: Made) -> Path:
        return self._folder / f"{made.kind}-{made.sop_uid}.dcm"


def require_folder(folder: Path) -> None:
    """Make a folder (mode 0700) when it is missing; ExportRequestError where that cannot be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise ExportRequestError(
            f"no folder can be made here ({fault.strerror})", where=str(folder), fix="name another folder"
        ) from fault
