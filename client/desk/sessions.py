"""Who may use the pages: a token in the printed address, good once, becomes a session cookie.

Sessions are kept on the server's side (their hashes, in a file of the node's own), so that one survives a killed node
and can be ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from pathlib import Path

FILE = "desk.sessions"
_BYTES = 32
LIFETIME = 12 * 3600.0


class Sessions:
    """The open sessions of one reader. Safe to use from several threads."""

    def __init__(self, file: Path, reader: str) -> None:
        self._file = file
        self._reader = reader
        self._turn = threading.Lock()
        self._tokens: set[str] = set()
        self._open: dict[str, float] = {}
        try:
            kept = json.loads(file.read_text(encoding="ascii"))
            # Whoever reads under another name begins a session of their own.
            self._open = (
                {str(name): float(end) for name, end in kept["open"].items()} if kept["reader"] == reader else {}
            )
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # a damaged file means no more than opening the printed address again

    def token(self) -> str:
        """A token that `enter` takes once."""
        token = secrets.token_urlsafe(_BYTES)
        with self._turn:
            self._tokens.add(_hash(token))
        return token

    def enter(self, token: str) -> str | None:
        """A new session's secret for a token, which is used up; None for any other word."""
        with self._turn:
            if _hash(token) not in self._tokens:
                return None
            self._tokens.discard(_hash(token))
            session = secrets.token_urlsafe(_BYTES)
            now = time.time()
            self._open = {name: end for name, end in self._open.items() if end > now}
            self._open[_hash(session)] = now + LIFETIME
            self._keep()
            return session

    def valid(self, session: str) -> bool:
        """Whether the session is open."""
        with self._turn:
            return self._open.get(_hash(session), 0.0) > time.time()

    def end(self, session: str) -> None:
        """Close a session, at once."""
        with self._turn:
            if self._open.pop(_hash(session), None) is not None:
                self._keep()

    def _keep(self) -> None:
        beside = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            json.dump({"reader": self._reader, "open": self._open}, file)
        beside.replace(self._file)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
