"""From the spool through the gate into the store or the quarantine, by whichever process has the store open.

An entry leaves the spool only after the store, or the quarantine, has committed it. A process that dies in between
leaves it there, and the next one finds it again: what the store holds by then counts as a duplicate.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from ..deidentify import Deidentification
from ..errors import TamperError
from ..gate import Examiner
from ..ordered import in_order
from ..pixels import UnreadableError
from ..repeating import Repeating
from ..spool import Spool
from ..store import Store
from .batches import BATCH, Account, Read, attempt, workers
from .instance import deidentification_of, new_instance
from .report import IntakeReport, together

_PAUSE_SECONDS = 1.0


def drain(store: Store, spool: Spool, gate: Examiner, ending: threading.Event | None = None) -> IntakeReport:
    """Take in what waits in the spool now, and say what became of it; `ending`, once set, leaves the rest for later.

    Raises StoreError (a full disk, say) with the rest still in the spool.
    """
    reports: list[IntakeReport] = []
    waiting = spool.waiting()
    how = deidentification_of(store)
    threads = workers()
    with ThreadPoolExecutor(threads, thread_name_prefix="drain") as pool:
        for start in range(0, len(waiting), BATCH):
            if ending is not None and ending.is_set():
                break
            entries = waiting[start : start + BATCH]
            account = Account(store, len(entries), None, only_copies=True)
            for read in in_order(pool, partial(_read, spool, gate, how), entries, 2 * threads):
                account.take(read)
            account.flush()
            for entry in entries:
                spool.remove(entry)
            reports.append(account.report())
    return together(reports)


def _read(spool: Spool, gate: Examiner, how: Deidentification, entry: str) -> Read:
    try:
        spooled = spool.read(entry)
    except TamperError as fault:
        return Read(entry, fault=UnreadableError("unreadable-file", fault.what))
    return attempt(
        spooled.source,
        lambda: spooled.content,
        lambda content: new_instance(gate.examine(content, how), content, spooled.source),
    )


class Draining(Repeating):
    """Drains the spool in a thread of its own for as long as its `with` block lasts, whenever something waits.

    store: the store where this process has it open, or how to open it: it is then opened only while something waits,
    and another process that has it open is left alone, since that one drains. settled: called with each report.
    """

    def __init__(
        self,
        store: Store | Callable[[], Store],
        spool: Spool,
        gate: Examiner,
        settled: Callable[[IntakeReport], None] | None = None,
    ) -> None:
        super().__init__("intake", _PAUSE_SECONDS, "taking files in failed; they wait in the spool")
        self._store = store
        self._spool = spool
        self._gate = gate
        self._settled = settled

    def once(self) -> None:
        """Take in what waits now."""
        if not self._spool.waiting():
            return
        opened: AbstractContextManager[Store] = (
            nullcontext(self._store) if isinstance(self._store, Store) else self._store()
        )
        with opened as store:
            report = drain(store, self._spool, self._gate, self._ending)
        for item in report.quarantined:
            self._log.warning("quarantined %s: %s (%s)", item.source, item.reason, item.code)
        self._log.info("taken in: %d new, %d known, %d quarantined", *_counts(report))
        if self._settled is not None:
            self._settled(report)


def _counts(report: IntakeReport) -> tuple[int, int, int]:
    return report.imported, report.duplicates, len(report.quarantined)
