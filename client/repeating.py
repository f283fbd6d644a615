"""Work that a resident node does again and again beside its rounds, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from .errors import NodeError, StoreBusyError


class Repeating(ABC):
    """Does its work, pauses, and does it again, for as long as its `with` block lasts.

    name: of the thread. pause: seconds. unharmed: what to say of the work when a fault of ours interrupts it.
    """

    def __init__(self, name: str, pause: float, unharmed: str) -> None:
        self._pause = pause
        self._unharmed = unharmed
        self._ending = threading.Event()
        self._log = logging.getLogger(f"medquorum.{name}")
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def once(self) -> None:
        """The work that there is now. It looks at `_ending` where it lasts long."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        told = ""
        while not self._ending.is_set():
            try:
                self.once()
                told = ""
            except StoreBusyError:  # another process has it open and does this work
                pass
            except NodeError as fault:  # a full disk, a lost key: said once, tried again, nothing lost
                if str(fault) != told:
                    self._log.error("%s", fault)
                    told = str(fault)
            except Exception:  # a fault of ours: said in full
                self._log.exception("%s", self._unharmed)
            self._ending.wait(self._pause)
