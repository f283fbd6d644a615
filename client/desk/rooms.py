"""The reading rooms of one open store, one for each reader, and the trace of who opened which study."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ..accounts.roles import Role
from ..audit_log import Trail
from ..releases import Releases
from ..store import Store
from .doors import Visitor
from .room import ReadingRoom
from .shared import Shared

# Each costs memory for every study (index.py); who comes back later gets a new one.
MOST_ROOMS = 32
_MOST_OPENED = 100_000


class Rooms:
    """Safe to use from several threads. trail: where the opening of a study is noted (by default the store's own)."""

    def __init__(self, store: Store, releases: Releases, trail: Trail | None = None) -> None:
        self._store, self._releases = store, releases
        self._trail = trail or store.trail
        self._shared = Shared(store, releases)
        self._turn = threading.Lock()
        self._rooms: OrderedDict[tuple[str, Role], ReadingRoom] = OrderedDict()
        self._opened: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def of(self, name: str, role: Role) -> ReadingRoom:
        """The room of a reader in a role."""
        with self._turn:
            room = self._rooms.pop((name, role), None)
            if room is None:
                room = ReadingRoom(self._store, self._releases, name, role, self._shared)
            self._rooms[name, role] = room
            while len(self._rooms) > MOST_ROOMS:
                self._rooms.popitem(last=False)
            return room

    def sync(self) -> None:
        """Take in what is in the store."""
        self._shared.sync()

    def opened(self, visitor: Visitor, study: str) -> None:
        """Note in the audit log that a reader was given a study: once in each session, before it is shown."""
        visit = (visitor.session, visitor.name, study)
        with self._turn:
            if visit in self._opened:
                return
            self._trail.append("access", visitor.name, by="desk", study=study)
            self._opened[visit] = None
            while len(self._opened) > _MOST_OPENED:
                self._opened.popitem(last=False)
