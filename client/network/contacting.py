"""A transport that leaves, in one file's time, when the coordinator last answered."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from flwr.app import Message

from .transport import Transport

CONTACT = "contact"
_SECONDS = 15.0


class Contacting:
    """A transport that notes when the coordinator last answered, at most every few seconds."""

    def __init__(self, inner: Transport, folder: Path) -> None:
        self._inner = inner
        self._file = folder / CONTACT
        self._noted = float("-inf")

    @property
    def heartbeat_seconds(self) -> float:
        """As the inner transport's."""
        return self._inner.heartbeat_seconds

    def connect(self) -> None:
        """Connect."""
        self._inner.connect()
        self._note()

    def receive(self) -> Message | None:
        """The next message."""
        message = self._inner.receive()
        self._note()
        return message

    def reply(self, message: Message) -> None:
        """Send an answer."""
        self._inner.reply(message)
        self._note()

    def stay_known(self) -> None:
        """Send a heartbeat."""
        self._inner.stay_known()
        self._note()

    def close(self) -> None:
        """Close."""
        self._inner.close()

    def _note(self) -> None:
        now = time.monotonic()
        if now - self._noted > _SECONDS:
            self._noted = now
            with suppress(OSError):
                self._file.touch(mode=0o600)
