"""What leads ask and say over HTTP. Any reader may knock: the reading room knows who is a lead and refuses others."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .bodies import said
from .lead import DISPUTES, Dispute, Doubt, LeadDesk
from .rooms import Rooms
from .ruled import RuledRoute, visitor_of


def lead_routes(rooms: Rooms) -> list[RuledRoute]:
    """The questions and changes of the lead's pages."""

    def lead(request: Request) -> LeadDesk:
        visitor = visitor_of(request)
        return rooms.of(visitor.name, visitor.role).lead()

    async def disputes(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(lambda: lead(request).disputes(_show(request))))

    async def adjudication(request: Request) -> Response:
        study = request.path_params["study"]
        names, revealed = (request.query_params.get(name) == "1" for name in ("names", "reveal"))
        found = await run_in_threadpool(lambda: lead(request).adjudication(study, _show(request), names, revealed))
        await run_in_threadpool(rooms.opened, visitor_of(request), study)
        return JSONResponse(found)

    async def sent_back(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(lambda: lead(request).sent_back()))

    async def send_back(request: Request) -> Response:
        doubt = await said(request, Doubt)
        return JSONResponse(await run_in_threadpool(lambda: lead(request).send_back(doubt)))

    async def quality(request: Request) -> Response:
        anew = request.method == "POST"
        return JSONResponse(await run_in_threadpool(lambda: lead(request).quality(anew)))

    return [
        RuledRoute("/api/disputes", disputes, "reader"),
        RuledRoute("/api/adjudication/{study}", adjudication, "reader"),
        RuledRoute("/api/send-back", sent_back, "reader"),
        RuledRoute("/api/send-back", send_back, "reader", ["POST"]),
        RuledRoute("/api/quality", quality, "reader"),
        RuledRoute("/api/quality", quality, "reader", ["POST"]),
    ]


def _show(request: Request) -> Dispute:
    known: dict[str, Dispute] = {one: one for one in DISPUTES}
    return known.get(request.query_params.get("disputes", ""), "disputed")
