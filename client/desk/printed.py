"""The way in on one machine: an address that is printed, good once, for the reader whose machine it is."""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from .doors import Cookie, Visitor
from .pages import PAGES
from .ruled import RuledRoute
from .sessions import LIFETIME, Sessions


class PrintedDoor:
    """Lets in whoever has the printed address. They read as `reader`; who a lead is, the label rule says."""

    # Not Secure: the page is served over HTTP, which does not leave the machine.
    cookie = Cookie("medquorum_desk", secure=False, lifetime=LIFETIME)
    open_paths: tuple[str, ...] = ("/enter",)
    crossed_paths: tuple[str, ...] = ()
    accounts = False
    provider = False

    def __init__(self, sessions: Sessions, reader: str) -> None:
        self._sessions = sessions
        self._reader = reader

    def visitor(self, secret: str) -> Visitor | None:
        """The reader, while the session is open."""
        if not self._sessions.valid(secret):
            return None
        return Visitor(self._reader, "reader", hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest())

    def end(self, secret: str) -> None:
        """Close a session, at once."""
        self._sessions.end(secret)

    def word(self, request: Request) -> str:
        """Nothing is changed without a session."""
        return ""

    def closed(self, request: Request) -> Response:
        """A page that says to open the printed address."""
        return FileResponse(PAGES / "closed.html", 403)

    def routes(self) -> list[RuledRoute]:
        """Where the printed address leads."""

        async def enter(request: Request) -> Response:
            session = self._sessions.enter(request.query_params.get("token", ""))
            if session is None:
                return self.closed(request)
            answer = RedirectResponse("/", 303)
            self.cookie.give(answer, session)
            return answer

        return [RuledRoute("/enter", enter, "nobody")]
