"""The pages over HTTP: routes, and every fault as one line that the page can show."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp

from ...errors import MedquorumError
from ..accounts.errors import AccountError, AccountRefusedError, SignInError, SlowDownError
from ..disk import is_full
from ..errors import AnnotationError, ConflictError, PixelError
from .bodies import body
from .doors import Door, Visitor
from .faults import HiddenError, UnknownError
from .guard import Guard, csrf
from .lead_routes import lead_routes
from .pages import PAGES
from .room import ReadingRoom
from .rooms import Rooms
from .ruled import RuledRoute, page_route, visitor_of
from .saying import parsed
from .worklist import FILTERS, ORDERS, Filter, Order, Query

_LOG = logging.getLogger("medquorum.desk")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
_LONGEST_BODY = 1 << 20
_MOST_ROWS = 200
_STATUS: tuple[tuple[type[MedquorumError], int], ...] = (
    (AnnotationError, 422),
    (AccountError, 422),
    (PixelError, 422),
    (ConflictError, 409),
    (AccountRefusedError, 409),
    (SlowDownError, 429),
    (SignInError, 403),
    (HiddenError, 403),
    (UnknownError, 404),
)


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
        way_in = {"accounts": door.accounts, "provider": door.provider}
        return JSONResponse({**plain, **way_in, "csrf": csrf(request.cookies[door.cookie.name])})

    async def worklist(request: Request) -> Response:
        offset, limit = _whole(request, "offset", 0), min(_MOST_ROWS, _whole(request, "limit", 50))
        return JSONResponse(await run_in_threadpool(room(request).worklist, _query(request), offset, limit))

    async def quarantine(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(room(request).quarantine))

    async def study(request: Request) -> Response:
        first, revealed = (request.query_params.get(name) == "1" for name in ("first", "reveal"))
        study = request.path_params["study"]
        found = await run_in_threadpool(room(request).study, study, _query(request), first, revealed)
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
        action = parsed(await body(request, _LONGEST_BODY))
        return JSONResponse(await run_in_threadpool(room(request).say, action))

    return [
        page_route("/", "worklist", "reader"),
        page_route("/study", "study", "reader"),
        page_route("/quarantine", "quarantine", "reader"),
        page_route("/adjudication", "adjudication", "reader"),
        page_route("/quality", "quality", "reader"),
        RuledRoute("/leave", leave, "reader", ["POST"]),
        RuledRoute("/static/{name}", static, "nobody"),
        RuledRoute("/api/about", about, "reader"),
        RuledRoute("/api/worklist", worklist, "reader"),
        RuledRoute("/api/quarantine", quarantine, "reader"),
        RuledRoute("/api/study/{study}", study, "reader"),
        RuledRoute("/api/image/{image}/{frame:int}", image, "reader"),
        RuledRoute("/api/heatmap/{image}/{finding}", heatmap, "reader"),
        RuledRoute("/api/say", say, "reader", ["POST"]),
        *lead_routes(rooms),
        *door.routes(),
    ]


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
    status = 507 if full else next((status for kind, status in _STATUS if isinstance(fault, kind)), 503)
    if status in (503, 507):
        _LOG.error("%s", fault)
    plain = {"error": fault.what, "fix": fault.fix, "full": full}
    if isinstance(fault, SlowDownError):
        return JSONResponse({**plain, "seconds": fault.seconds}, status, {"retry-after": str(fault.seconds)})
    return JSONResponse(plain, status)


def _refused(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    return JSONResponse({"error": fault.detail}, fault.status_code)


def _unforeseen(request: Request, fault: Exception) -> Response:
    _LOG.exception("a request of the review page could not be answered", exc_info=fault)
    return JSONResponse({"error": "the node met a fault that nobody foresaw; its log has the details"}, 500)
