"""A watched folder: files that have stayed unchanged for a while go into the spool, each once, none lost.

A file is taken only when its size and times have not moved for the quiet interval, so that one that is still being
copied waits. It is read, put into the spool and synced there, and only then moved to the subfolder `taken` (or
removed). Whatever stops this in between leaves the file where it was: it is taken again, and what the store holds by
then counts as known.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import IntakeError, NodeError
from ..keys import sync_folder
from ..pixels import DEFAULT_LIMITS, Limits, UnreadableError
from ..spool import Spool
from .files import existing_folder, list_files, read_inside
from .settings import After

TAKEN = "taken"
_log = logging.getLogger("medquorum.watch")


@dataclass(frozen=True, slots=True)
class _Look:
    """How a file looked, and since when it has looked so (monotonic seconds)."""

    size: int
    changed: int
    inode: int
    since: float


class Watched:
    """Looks at a folder again and again. after: what happens to a file that was taken."""

    def __init__(
        self, folder: Path, spool: Spool, quiet_seconds: float, after: After, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """Raises IntakeError when there is no such folder, or files could not be moved within it."""
        self._folder = existing_folder(folder)
        self._spool = spool
        self._quiet = quiet_seconds
        self._after: After = after
        self._limits = limits
        self._seen: dict[str, _Look] = {}
        self._refused: set[tuple[str, int, int]] = set()
        if not os.access(self._folder, os.W_OK):
            raise IntakeError(
                "files cannot be moved out of the watched folder", where=str(folder), fix="let this user write there"
            )

    def look(self, now: float | None = None) -> int:
        """Take every file that has been quiet for long enough; returns how many. now: monotonic seconds.

        Raises DiskFullError or StoreError when the spool cannot take a file, which then stays where it is.
        """
        moment = time.monotonic() if now is None else now
        seen: dict[str, _Look] = {}
        taken = 0
        for name in list_files(self._folder):
            if name.startswith(f"{TAKEN}/"):
                continue
            try:
                status = (self._folder / name).lstat()
            except OSError:
                continue
            before = self._seen.get(name)
            same = before is not None and (before.size, before.changed, before.inode) == (
                status.st_size,
                status.st_mtime_ns,
                status.st_ino,
            )
            since = before.since if before is not None and same else moment
            look = _Look(status.st_size, status.st_mtime_ns, status.st_ino, since)
            if moment - since >= self._quiet and same and self._take(name, look):
                taken += 1
            else:
                seen[name] = look
        self._seen = seen
        return taken

    def run(self, ending: threading.Event) -> None:
        """Look again and again until `ending` is set."""
        told = ""
        while not ending.wait(min(1.0, max(0.1, self._quiet / 4))):
            try:
                taken = self.look()
                told = ""
                if taken:
                    _log.info("took %d files from %s", taken, self._folder)
            except NodeError as fault:
                if str(fault) != told:
                    _log.error("%s", fault)
                    told = str(fault)

    def _take(self, name: str, look: _Look) -> bool:
        key = (name, look.changed, look.inode)
        if key in self._refused:
            return False
        try:
            content = read_inside(self._folder, name, self._limits)
        except UnreadableError as fault:
            # It stays where it is, for its owner to see; said once.
            self._refused.add(key)
            _log.warning("cannot take %s: %s", name, fault.what)
            return False
        self._spool.put(f"watched folder, {name}", content)
        self._put_away(name)
        return True

    def _put_away(self, name: str) -> None:
        path = self._folder / name
        if self._after == "delete":
            path.unlink(missing_ok=True)
            return
        place = self._folder / TAKEN / name
        place.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while place.exists():
            number += 1
            place = (self._folder / TAKEN / name).with_name(f"{Path(name).name}.{number}")
        path.rename(place)
        sync_folder(place.parent)
