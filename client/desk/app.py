"""The pages over HTTP: routes, and every fault as one line that the page can show."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp

from ...errors import MedquorumError
from ..disk import is_full
from ..errors import AnnotationError, ConflictError, PixelError
from .doors import Door, Visitor
from .guard import Guard, csrf
from .pages import PAGES
from .room import HiddenError, ReadingRoom, UnknownError
from .rooms import Rooms
from .ruled import RuledRoute, visitor_of
from .saying import parsed
from .worklist import FILTERS, ORDERS, Filter, Order, Query

_LOG = logging.getLogger("medquorum.desk")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
_LONGEST_BODY = 1 << 20
_MOST_ROWS = 200


def desk_app(rooms: Rooms, door: Door, hosts: Sequence[str]) -> ASGIApp:
    """The reader's desk as an ASGI application. hosts: see Guard."""
    app = Starlette(
        routes=desk_routes(rooms, door),
        exception_handlers={MedquorumError: _said, HTTPException: _refused, Exception: _unforeseen},
    )
    return Guard(app, door, hosts)


def desk_routes(rooms: Rooms, door: Door) -> list[RuledRoute]:
    """Every page and question, each with who may use it; see RuledRoute."""

    def room(request: Request) -> ReadingRoom:
        visitor = visitor_of(request)
        return rooms.of(visitor.name, visitor.role)

    async def leave(request: Request) -> Response:
        door.end(request.cookies[door.cookie.name])
        answer = JSONResponse({})
        door.cookie.take(answer)
        return answer

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        file = PAGES / name
        if file.suffix not in _TYPES or name not in {one.name for one in PAGES.iterdir()}:
            raise HTTPException(404)
        return FileResponse(file, media_type=_TYPES[file.suffix])

    async def about(request: Request) -> Response:
        plain = await run_in_threadpool(room(request).about)
        return JSONResponse({**plain, "accounts": door.accounts, "csrf": csrf(request.cookies[door.cookie.name])})

    async def worklist(request: Request) -> Response:
        offset, limit = _whole(request, "offset", 0), min(_MOST_ROWS, _whole(request, "limit", 50))
        return JSONResponse(await run_in_threadpool(room(request).worklist, _query(request), offset, limit))

    async def quarantine(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(room(request).quarantine))

    async def study(request: Request) -> Response:
        first = request.query_params.get("first") == "1"
        study = request.path_params["study"]
        found = await run_in_threadpool(room(request).study, study, _query(request), first)
        await run_in_threadpool(rooms.opened, visitor_of(request), study)
        return JSONResponse(found)

    def _opened(here: ReadingRoom, image: str, visitor: Visitor) -> None:
        rooms.opened(visitor, here.study_of(image))

    async def image(request: Request) -> Response:
        image = request.path_params["image"]
        await run_in_threadpool(_opened, room(request), image, visitor_of(request))
        return _binary(await run_in_threadpool(room(request).frame, image, request.path_params["frame"]))

    async def heatmap(request: Request) -> Response:
        image = request.path_params["image"]
        await run_in_threadpool(_opened, room(request), image, visitor_of(request))
        return _binary(await run_in_threadpool(room(request).heatmap, image, request.path_params["finding"]))

    async def say(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_BODY:
                raise AnnotationError("an action of more than a megabyte", fix="load the page again")
        return JSONResponse(await run_in_threadpool(room(request).say, parsed(body)))

    return [
        RuledRoute("/", _page("worklist.html"), "reader"),
        RuledRoute("/study", _page("study.html"), "reader"),
        RuledRoute("/quarantine", _page("quarantine.html"), "reader"),
        RuledRoute("/leave", leave, "reader", ["POST"]),
        RuledRoute("/static/{name}", static, "nobody"),
        RuledRoute("/api/about", about, "reader"),
        RuledRoute("/api/worklist", worklist, "reader"),
        RuledRoute("/api/quarantine", quarantine, "reader"),
        RuledRoute("/api/study/{study}", study, "reader"),
        RuledRoute("/api/image/{image}/{frame:int}", image, "reader"),
        RuledRoute("/api/heatmap/{image}/{finding}", heatmap, "reader"),
        RuledRoute("/api/say", say, "reader", ["POST"]),
        *door.routes(),
    ]


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
