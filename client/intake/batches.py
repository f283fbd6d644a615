"""The one loop behind every import: read and decode in threads, store in batches, account for every file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import StoreError
from ..pixels import UnreadableError
from ..pixels.preview import PREVIEW
from ..store import NewInstance, Store, Stored
from .report import IntakeReport, Progress, Quarantined

BATCH = 64
# Files wait in memory until their batch is stored; past this many bytes together they wait no longer.
_BATCH_BYTES = 256 << 20
# A quarantined file larger than this is recorded without its bytes where the user still has the original.
_KEPT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Read:
    """One file as a worker left it: ready to be stored, or with the reason why not and what bytes there were."""

    source: str
    instance: NewInstance | None = None
    preview: bytes | None = None
    fault: UnreadableError | None = None
    content: bytes | None = field(default=None, repr=False)


def attempt(source: str, read: Callable[[], bytes], parse: Callable[[bytes], tuple[NewInstance, bytes]]) -> Read:
    """Read and parse one file to an instance and its preview; every expected failure becomes a `Read` that says so."""
    content: bytes | None = None
    try:
        content = read()
        instance, preview = parse(content)
        return Read(source, instance, preview, content=content)
    except UnreadableError as fault:
        return Read(source, fault=fault, content=content)
    except MemoryError:
        return Read(source, fault=UnreadableError("too-large", "there is not enough memory to decode it"))


def workers() -> int:
    """Threads for reading and decoding: as many as this process may use cores, at most eight."""
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


class Account:
    """Stores batches and keeps count of what became of each file."""

    def __init__(self, store: Store, total: int, progress: Progress | None, *, only_copies: bool = False) -> None:
        """only_copies: nobody else has these files any more, so that quarantine keeps each of them, however large."""
        self._store = store
        self._kept_bytes = None if only_copies else _KEPT_BYTES
        self._waiting_bytes = 0
        self._total = total
        self._progress = progress
        self._batch: list[Read] = []
        self._patients: set[str] = set()
        self._quarantined: list[Quarantined] = []
        self._imported = self._duplicates = self._settled = self._masked = 0
        self.instances: dict[str, Stored] = {}

    def take(self, read: Read) -> None:
        """Account for one file; full batches are stored."""
        if read.fault is not None:
            self._refuse(read.source, read.fault.code, read.fault.what, read.content)
            self._settle(1)
            return
        self._batch.append(read)
        self._waiting_bytes += len(read.content or b"") + len(read.instance.content if read.instance else b"")
        if len(self._batch) >= BATCH or self._waiting_bytes > _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Store what is waiting, in one transaction; what the store refuses goes to quarantine, alone."""
        batch, self._batch, self._waiting_bytes = self._batch, [], 0
        new = [read.instance for read in batch if read.instance is not None]
        previews: list[tuple[str, bytes]] = []
        for read, outcome in zip(batch, self._store.add_many(new) if new else [], strict=True):
            if isinstance(outcome, StoreError):
                self._refuse(read.source, "conflict", outcome.what, read.content)
                continue
            self.instances[read.source] = outcome
            self._patients.add(outcome.patient)
            self._imported += outcome.new
            self._masked += outcome.new and read.instance is not None and read.instance.masked > 0
            self._duplicates += not outcome.new
            if outcome.new and read.preview is not None:
                previews.append((outcome.instance, read.preview))
        if previews:
            self._store.cache_put_many(PREVIEW, previews)
        self._settle(len(batch))

    def report(self, labelled: int = 0) -> IntakeReport:
        """The outcome so far; call `flush` before."""
        refused = tuple(self._quarantined)
        return IntakeReport(
            self._imported, self._duplicates, len(self._patients), refused, labelled, masked=self._masked
        )

    def _refuse(self, source: str, code: str, reason: str, content: bytes | None) -> None:
        small = content is not None and (self._kept_bytes is None or len(content) <= self._kept_bytes)
        kept = content if small else None
        self._store.quarantine(source, code, reason, kept)
        self._quarantined.append(Quarantined(source, code, reason))

    def _settle(self, count: int) -> None:
        self._settled += count
        if self._progress is not None and count:
            self._progress(self._settled, self._total)
