"""The way in on the LAN for hospitals with an identity provider: readers sign in there and come back.

The browser leaves for the provider by a plain navigation, and comes back to a page that holds nothing. That page sends
what the provider gave it, as any page of ours sends a change: so the session's cookie never needs to travel with a
request that another site has caused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .bodies import Said, said
from .people import STRANGER, People
from .ruled import RuledRoute, page_route

if TYPE_CHECKING:
    from ..accounts.administration import Administration
    from ..accounts.oidc.flow import Flow
    from ..accounts.signing_in import SigningIn

BACK = "/signed-in"


class Nothing(Said):
    """A change that needs no more than being asked for."""


class Back(Said):
    """What the provider's answer in the browser says (RFC 6749, section 4.1.2; RFC 9207)."""

    code: str = Field(max_length=8000)
    state: str = Field(max_length=1000)
    iss: str | None = Field(default=None, max_length=1000)


class PeopleFromProvider(People):
    """Readers sign in with the hospital's identity provider."""

    open_paths: tuple[str, ...] = (*People.open_paths, BACK, "/api/provider", "/api/provider/finish")
    crossed_paths: tuple[str, ...] = (*People.crossed_paths, BACK)
    provider = True

    def __init__(self, signing_in: SigningIn, administration: Administration, flow: Flow) -> None:
        super().__init__(signing_in, administration)
        self._flow = flow

    def routes(self) -> list[RuledRoute]:
        """Also leaving for the provider, and coming back."""

        async def leave(request: Request) -> Response:
            await said(request, Nothing)
            to = await run_in_threadpool(self._flow.leave, request.cookies.get(STRANGER.name, ""))
            return JSONResponse({"to": to})

        async def finish(request: Request) -> Response:
            given, stranger = await said(request, Back), request.cookies.get(STRANGER.name, "")
            come_back = self._flow.come_back
            admission = await self.checked(request, lambda: come_back(stranger, given.code, given.state, given.iss))
            return await run_in_threadpool(self.let_in, request, admission)

        return [
            *super().routes(),
            page_route(BACK, "signed-in", "nobody"),
            RuledRoute("/api/provider", leave, "nobody", ["POST"]),
            RuledRoute("/api/provider/finish", finish, "nobody", ["POST"]),
        ]
