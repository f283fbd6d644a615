"""What every request passes before anything is answered, and the headers that every answer carries.

Another page in the reader's browser must neither read nor change anything here: the session cookie is HttpOnly and
SameSite=Strict, changes need a word that only our own pages know, a Host that is not ours is refused (DNS rebinding),
and the policy allows our own scripts and styles from our own origin and nothing inline.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .pages import PAGES
from .sessions import LIFETIME, Sessions, csrf

COOKIE = "medquorum_desk"
CSRF_HEADER = "x-medquorum-csrf"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "cache-control": "no-store",
}
# What is answered without a session: it holds no data.
_OPEN = ("/enter", "/static/")


class Guard:
    """Middleware around the pages of one origin. hosts: the values that a Host header may have ("127.0.0.1:8787")."""

    def __init__(self, app: ASGIApp, sessions: Sessions, hosts: Sequence[str]) -> None:
        self._app = app
        self._sessions = sessions
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.decode() not in HEADERS]
                message["headers"] = [*kept, *((name.encode(), value.encode()) for name, value in HEADERS.items())]
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return JSONResponse({"error": "this address is not where the page is served"}, 421)
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            # A link from elsewhere may only lead to the door, which tells nothing.
            return JSONResponse({"error": "requests of other pages are refused"}, 403)
        path = request.url.path
        if path.startswith(_OPEN):
            return None
        session = request.cookies.get(COOKIE, "")
        if not self._sessions.valid(session):
            if path.startswith("/api/"):
                return JSONResponse({"error": "the session is over; open the address that the node printed"}, 401)
            return FileResponse(PAGES / "closed.html", 403)
        if request.method not in ("GET", "HEAD"):
            origin = request.headers.get("origin")
            word = request.headers.get(CSRF_HEADER, "")
            known = hmac.compare_digest(word.encode("utf-8", "replace"), csrf(session).encode())
            if not known or origin not in (None, *(f"http://{host}" for host in self._hosts)):
                return JSONResponse({"error": "this change did not come from the page itself"}, 403)
        return None


def set_cookie(response: Response, session: str) -> None:
    """Give the browser its session."""
    response.set_cookie(COOKIE, session, max_age=int(LIFETIME), path="/", httponly=True, samesite="strict")
