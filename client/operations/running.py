"""Whether a node runs, how it stands, and what the running process leaves for those who ask.

Only one process can have the store open, so a running node writes its figures to `status.json` in its folder; when the
coordinator last answered is the time of `contact` beside it (network/contacting.py). Both say nothing of a patient but
counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...privacy.ledger import Ledger
from ..store import Figures, Store
from ..store.vault import LOCK

STATUS = "status.json"
_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Turns:
    """Whose turn to take part in plans has come, by the site's rule: patients, and how many of them are unread, whom
    every plan waits for."""

    patients: int
    unread: int


@dataclass(frozen=True, slots=True)
class Status:
    """How a node stands. running: the process that has the store open, if any. figures_at: when the figures were taken
    (UTC, ISO 8601; of a running node some seconds ago). consortium, coordinator: "" before enrolment. last_contact:
    when the coordinator last answered. release: the one that proposes. left: epsilon for new plans."""

    site: str
    running: int | None
    figures: Figures
    figures_at: str
    consortium: str
    coordinator: str
    last_contact: str
    release: str
    epsilon_cap: float
    left: float
    turns: Turns


def holder(store: Path) -> int | None:
    """The process that has the store of this folder open (0 when it cannot be told which), or None."""
    try:
        descriptor = os.open(store / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        digits = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(digits) if digits.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def status(folder: Path) -> Status:
    """How the node in `folder` stands now. Raises as opening its store and ledger does."""
    from ..keys import open_node_key
    from ..network.contacting import CONTACT
    from ..network.errors import SettingsError
    from ..network.settings import NetworkSettings

    running = holder(folder / "store")
    ledger = Ledger.open(folder / "ledger.sqlite")
    left = left_by_the_running(folder) if running is not None else None
    if left is None:
        with Store.open(folder / "store") as store:
            left = figures_of(folder, store), turns_of(folder, store), _now()
    figures, turns, at = left
    settings = NetworkSettings(folder, open_node_key(folder / "store"))
    consortium = address = ""
    with suppress(SettingsError):
        coordinator = settings.coordinator()
        consortium, address = coordinator.consortium, coordinator.address
    return Status(
        ledger.site,
        running,
        figures,
        at,
        consortium,
        address,
        _moment(folder / CONTACT),
        _current(folder),
        ledger.epsilon_cap,
        ledger.left(),
        turns,
    )


def figures_of(folder: Path, store: Store) -> Figures:
    """The figures of an open store, proposals counted of the release that proposes."""
    return store.figures(_current(folder) or None)


def turns_of(folder: Path, store: Store) -> Turns:
    """Of an open store, by what the release that proposes is asked about (without one: every image)."""
    from ..applicability import why_not_applicable
    from ..releases import Releases

    release = Releases(folder / "releases").current()
    task = None if release is None else release.card.task
    found = store.entering().entering(
        datetime.now(UTC), lambda image: task is None or not why_not_applicable(task, image)
    )
    return Turns(len(found.patients), len(found.unread))


def _current(folder: Path) -> str:
    """The hash of the release that proposes, without reading the release; "" when there is none."""
    try:
        return (folder / "releases" / "current").read_text(encoding="ascii")
    except OSError:
        return ""


def lines(status: Status) -> list[str]:
    """The same in words, one line each."""
    figures = status.figures
    running = "not running" if status.running is None else f"running (process {status.running})"
    joined = f"enrolled in {status.consortium} at {status.coordinator}" if status.consortium else "not enrolled"
    return [
        f"Node of {status.site}: {running}, {joined}, last contact {status.last_contact or 'never'}.",
        f"Stored: {figures.images} images of {figures.patients} patients; {figures.quarantined} files in quarantine.",
        f"Proposed: {figures.proposed} by release {status.release[:12] or 'none'}, reviewed: {figures.reviewed}.",
        f"Plans: the turn of {status.turns.patients} patients has come"
        + (f"; {status.turns.unread} are not read, and no plan is joined before." if status.turns.unread else "."),
        f"Privacy budget: epsilon {status.left:.4g} of {status.epsilon_cap:g} is left to new plans.",
        f"Figures of {status.figures_at}.",
    ]


class Reporting:
    """Writes a running node's figures every few seconds, from a thread of its own, until it is left."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store
        self._turns: Turns | None = None
        self._next = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report, name="status", daemon=True)

    def __enter__(self) -> None:
        self._write()
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        with suppress(OSError):
            (self._folder / STATUS).unlink(missing_ok=True)

    def _report(self) -> None:
        while not self._over.wait(_SECONDS):
            self._write()

    def _write(self) -> None:
        from ..errors import NodeError

        # A node that cannot say how it stands (a full disk) goes on.
        with suppress(OSError, NodeError):
            figures = asdict(figures_of(self._folder, self._store))
            said = {"at": _now(), "process": os.getpid(), "figures": figures, "turns": asdict(self._turned())}
            beside = self._folder / f".{STATUS}.new"
            beside.write_text(json.dumps(said), encoding="utf-8")
            beside.replace(self._folder / STATUS)

    def _turned(self) -> Turns:
        # This takes a look at every reading while readers wait: no more than a two hundredth of the time.
        began = time.monotonic()
        if self._turns is None or began >= self._next:
            self._turns = turns_of(self._folder, self._store)
            self._next = began + 200.0 * (time.monotonic() - began)
        return self._turns


def left_by_the_running(folder: Path) -> tuple[Figures, Turns, str] | None:
    """What a running node left, and when (UTC, ISO 8601); None before it did."""
    try:
        said: dict[str, Any] = json.loads((folder / STATUS).read_bytes())
        return Figures(**said["figures"]), Turns(**said["turns"]), str(said["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _moment(path: Path) -> str:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except OSError:
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
