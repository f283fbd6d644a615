"""What every request passes before anything is answered, and the headers that every answer carries.

Another page in the reader's browser must neither read nor change anything here: the session cookie is HttpOnly and
SameSite=Strict, changes need a word that only our own pages know (signing in as well, so that nobody is signed in as
somebody else), a Host that is not ours is refused (DNS rebinding), and the policy allows our own scripts and styles
from our own origin and nothing inline.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .doors import Door

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
_YEAR = 31_536_000
# The parts of the pages, which hold no data.
_STATIC = "/static/"


def csrf(secret: str) -> str:
    """What a page of this session sends with every change, and no other origin can know."""
    return hmac.digest(secret.encode("utf-8", "replace"), b"medquorum csrf", hashlib.sha256).hex()


class Guard:
    """Middleware around the pages of one origin. hosts: the values that a Host header may have ("127.0.0.1:8787")."""

    def __init__(self, app: ASGIApp, door: Door, hosts: Sequence[str]) -> None:
        self._app = app
        self._door = door
        self._hosts = frozenset(hosts)
        scheme = "https" if door.cookie.secure else "http"
        self._origins = frozenset(f"{scheme}://{host}" for host in hosts)
        self._headers = dict(HEADERS)
        if door.cookie.secure:
            self._headers["strict-transport-security"] = f"max-age={_YEAR}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http":
            return
        ours = self._headers

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.decode() not in ours]
                message["headers"] = [*kept, *((name.encode(), value.encode()) for name, value in ours.items())]
            await send(message)

        refusal = await self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, with_headers)

    async def _refusal(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return JSONResponse({"error": "this address is not where the page is served"}, 421)
        path, door = request.url.path, self._door
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            # A link from elsewhere may only lead to the door, which tells nothing.
            followed = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
            if followed and door.crossed_paths and path == "/":
                return RedirectResponse(door.crossed_paths[0], 303)
            if not followed or path not in door.crossed_paths:
                return JSONResponse({"error": "requests of other pages are refused"}, 403)
        if path.startswith(_STATIC) or path in door.open_paths:
            return None if request.method in ("GET", "HEAD") else self._unasked(request, door.word(request))
        secret = request.cookies.get(door.cookie.name, "")
        visitor = await run_in_threadpool(door.visitor, secret)
        if visitor is None:
            if path.startswith("/api/") or request.method not in ("GET", "HEAD"):
                return JSONResponse({"error": "the session is over; come in again", "over": True}, 401)
            return door.closed(request)
        request.scope["visitor"] = visitor
        return None if request.method in ("GET", "HEAD") else self._unasked(request, csrf(secret))

    def _unasked(self, request: Request, word: str) -> Response | None:
        """The refusal of a change that does not carry its page's word, or comes from another origin."""
        origin = request.headers.get("origin")
        said = request.headers.get(CSRF_HEADER, "").encode("utf-8", "replace")
        if word and hmac.compare_digest(said, word.encode()) and origin in (None, *self._origins):
            return None
        # "word": the page may ask for its word anew, as after signing in again in another window.
        return JSONResponse({"error": "this change did not come from the page itself", "word": True}, 403)
