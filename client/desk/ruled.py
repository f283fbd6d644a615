"""Routes that cannot be made without saying who may use them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ..accounts.roles import Role, at_least
from .pages import page

if TYPE_CHECKING:
    from .doors import Visitor

Needs = Role | Literal["nobody"]
Endpoint = Callable[[Request], Awaitable[Response]]


class RuledRoute(Route):
    """A route for whoever has at least the role `needs`, or is "nobody" yet.

    What only a lead may do needs no more than "reader" here: the label rule may name a reader as a lead, which the
    reading room knows and checks.
    """

    def __init__(self, path: str, endpoint: Endpoint, needs: Needs, methods: Sequence[str] = ("GET",)) -> None:
        async def ruled(request: Request) -> Response:
            if needs != "nobody" and not at_least(visitor_of(request).role, needs):
                raise HTTPException(403, f"this is for the role {needs}")
            return await endpoint(request)

        super().__init__(path, ruled, methods=list(methods))
        self.needs: Needs = needs


def page_route(path: str, name: str, needs: Needs) -> RuledRoute:
    """The route of a page (see pages.page)."""

    async def sent(request: Request) -> Response:
        return HTMLResponse(page(name))

    return RuledRoute(path, sent, needs)


def visitor_of(request: Request) -> Visitor:
    """Who asks, as the guard found out. Only on routes that are not open to nobody."""
    return cast("Visitor", request.scope["visitor"])
