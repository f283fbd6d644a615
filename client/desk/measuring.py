"""The figures of quality, computed beside the page and kept until somebody asks for them anew."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from ...errors import MedquorumError
from ..quality.report import QualityReport, quality_report
from ..store import Store

_LOG = logging.getLogger("medquorum.desk")


@dataclass(frozen=True, slots=True)
class Measured:
    """report: the last that was computed. fault: why the last attempt gave none; "" where it did."""

    report: QualityReport | None = None
    running: bool = False
    fault: str = ""


class Measuring:
    """One computation at a time, in a thread of its own, however many ask. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()
        self._now = Measured()
        self._thread: threading.Thread | None = None

    def now(self) -> Measured:
        """What is known at this moment."""
        with self._turn:
            return self._now

    def start(self, release: str) -> Measured:
        """Compute anew for the release of this hash (""; none), unless that is going on already; does not wait."""
        with self._turn:
            if not self._now.running:
                self._now = Measured(self._now.report, True)
                self._thread = threading.Thread(target=self._run, args=(release,), name="quality", daemon=True)
                self._thread.start()
            return self._now

    def wait(self) -> None:
        """Until nothing is being computed."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self, release: str) -> None:
        try:
            done = Measured(quality_report(self._store, release))
        except MedquorumError as fault:
            done = Measured(self._now.report, fault=str(fault))
        except Exception:
            _LOG.exception("the figures of quality could not be computed")
            done = Measured(self._now.report, fault="a fault that nobody foresaw; the node's log has the details")
        with self._turn:
            self._now = done
