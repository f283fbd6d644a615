"""The pages over HTTP: routes, and every fault as one line that the page can show."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ...errors import MedquorumError
from ..disk import is_full
from ..errors import AnnotationError, ConflictError, PixelError
from .guard import COOKIE, Guard, set_cookie
from .pages import PAGES
from .room import HiddenError, ReadingRoom, UnknownError
from .saying import parsed
from .sessions import Sessions, csrf
from .worklist import FILTERS, ORDERS, Filter, Order, Query

_LOG = logging.getLogger("medquorum.desk")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
_LONGEST_BODY = 1 << 20
_MOST_ROWS = 200


def desk_app(room: ReadingRoom, sessions: Sessions, hosts: Sequence[str]) -> ASGIApp:
    """The reader's desk as an ASGI application. hosts: see Guard."""

    async def enter(request: Request) -> Response:
        session = sessions.enter(request.query_params.get("token", ""))
        if session is None:
            return FileResponse(PAGES / "closed.html", 403)
        answer = RedirectResponse("/", 303)
        set_cookie(answer, session)
        return answer

    async def leave(request: Request) -> Response:
        sessions.end(request.cookies[COOKIE])
        answer = JSONResponse({})
        answer.delete_cookie(COOKIE, path="/")
        return answer

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        file = PAGES / name
        if file.suffix not in _TYPES or name not in {one.name for one in PAGES.iterdir()}:
            raise HTTPException(404)
        return FileResponse(file, media_type=_TYPES[file.suffix])

    async def about(request: Request) -> Response:
        plain = await run_in_threadpool(room.about)
        return JSONResponse({**plain, "csrf": csrf(request.cookies[COOKIE])})

    async def worklist(request: Request) -> Response:
        offset, limit = _whole(request, "offset", 0), min(_MOST_ROWS, _whole(request, "limit", 50))
        return JSONResponse(await run_in_threadpool(room.worklist, _query(request), offset, limit))

    async def quarantine(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(room.quarantine))

    async def study(request: Request) -> Response:
        first = request.query_params.get("first") == "1"
        return JSONResponse(await run_in_threadpool(room.study, request.path_params["study"], _query(request), first))

    async def image(request: Request) -> Response:
        return _binary(await run_in_threadpool(room.frame, request.path_params["image"], request.path_params["frame"]))

    async def heatmap(request: Request) -> Response:
        asked = request.path_params["image"], request.path_params["finding"]
        return _binary(await run_in_threadpool(room.heatmap, *asked))

    async def say(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_BODY:
                raise AnnotationError("an action of more than a megabyte", fix="load the page again")
        return JSONResponse(await run_in_threadpool(room.say, parsed(body)))

    app = Starlette(
        routes=[
            Route("/", _page("worklist.html")),
            Route("/study", _page("study.html")),
            Route("/quarantine", _page("quarantine.html")),
            Route("/enter", enter),
            Route("/leave", leave, methods=["POST"]),
            Route("/static/{name}", static),
            Route("/api/about", about),
            Route("/api/worklist", worklist),
            Route("/api/quarantine", quarantine),
            Route("/api/study/{study}", study),
            Route("/api/image/{image}/{frame:int}", image),
            Route("/api/heatmap/{image}/{finding}", heatmap),
            Route("/api/say", say, methods=["POST"]),
        ],
        exception_handlers={MedquorumError: _said, HTTPException: _refused, Exception: _unforeseen},
    )
    return Guard(app, sessions, hosts)


def _page(name: str) -> Callable[[Request], Any]:
    async def page(request: Request) -> Response:
        return FileResponse(PAGES / name, media_type="text/html")

    return page


def _binary(data: bytes) -> Response:
    return Response(data, media_type="application/octet-stream")


def _query(request: Request) -> Query:
    asked = request.query_params
    orders: dict[str, Order] = {one: one for one in ORDERS}
    filters: dict[str, Filter] = {one: one for one in FILTERS}
    try:
        least = float(asked.get("from", "0"))
    except ValueError:
        least = 0.0
    order, show = orders.get(asked.get("order", ""), "uncertainty"), filters.get(asked.get("show", ""), "open")
    return Query(order, show, asked.get("find", "")[:200], least if 0.0 < least <= 1.0 else 0.0)


def _whole(request: Request, name: str, default: int) -> int:
    asked = request.query_params.get(name, "")
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else default


def _said(request: Request, fault: Exception) -> Response:
    """A fault of ours as the page shows it. Above 499, the same action may succeed later, and the page keeps it."""
    assert isinstance(fault, MedquorumError)
    full = is_full(fault)
    kinds = ((AnnotationError, 422), (PixelError, 422), (ConflictError, 409), (HiddenError, 403), (UnknownError, 404))
    status = 507 if full else next((status for kind, status in kinds if isinstance(fault, kind)), 503)
    if status in (503, 507):
        _LOG.error("%s", fault)
    return JSONResponse({"error": fault.what, "fix": fault.fix, "full": full}, status)


def _refused(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    return JSONResponse({"error": fault.detail}, fault.status_code)


def _unforeseen(request: Request, fault: Exception) -> Response:
    _LOG.exception("a request of the review page could not be answered", exc_info=fault)
    return JSONResponse({"error": "the node met a fault that nobody foresaw; its log has the details"}, 500)
