"""The way in on the hospital's LAN: people with accounts, who sign in here. See provided.py for the other way."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.to_thread
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from ..accounts.errors import SignInError, SlowDownError
from ..accounts.sessions import LIFETIME, Admission
from .bodies import Said, said
from .doors import Cookie, Visitor
from .guard import csrf
from .ruled import RuledRoute, page_route, visitor_of

if TYPE_CHECKING:
    from ..accounts.administration import Administration
    from ..accounts.signing_in import SigningIn

_LOG = logging.getLogger("medquorum.desk")
_YEAR = 31_536_000.0
# A check takes 64 MiB and a moment of every core: strangers must not get many at a time, nor keep pages waiting.
_CHECKS, _WAITING = 2, 50
_T = TypeVar("_T")

# The prefix has browsers refuse the cookie unless it is Secure, of this very host and for all of its paths.
SESSION = Cookie("__Host-medquorum", secure=True, lifetime=LIFETIME)
# Of a browser that has not signed in: what signing in is bound to, so that no other page can do it.
STRANGER = Cookie("__Host-medquorum-door", secure=True, lifetime=3600.0)
# By which a browser is known again whose reader has signed in before; it opens nothing.
BROWSER = Cookie("__Host-medquorum-browser", secure=True, lifetime=_YEAR)


class SignIn(Said):
    """A name and a password, as typed."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class Enrol(SignIn):
    """The same with a one-time code; the password is the new one."""

    code: str = Field(max_length=100)


class Passwords(Said):
    """The present password and another."""

    old: str = Field(max_length=1000)
    new: str = Field(max_length=1000)


class Change(Said):
    """What an admin does to an account."""

    do: Literal["add", "code", "role", "disable", "enable", "sign_out"]
    name: str = Field(max_length=200)
    role: Literal["reader", "lead", "admin"] = "reader"


class People:
    """What both ways in on the LAN share: sessions in the accounts' file, and the admin's page."""

    cookie = SESSION
    open_paths: tuple[str, ...] = ("/login", "/api/door")
    crossed_paths: tuple[str, ...] = ("/login",)
    accounts = True
    provider = False

    def __init__(self, signing_in: SigningIn, administration: Administration) -> None:
        self._signing_in, self._administration = signing_in, administration
        self._checks = anyio.CapacityLimiter(_CHECKS)

    def visitor(self, secret: str) -> Visitor | None:
        """Whose session it is, as the accounts' file says now."""
        session = self._signing_in.session(secret)
        return None if session is None else Visitor(session.name, session.role, session.hash)

    def end(self, secret: str) -> None:
        """Close a session, at once."""
        self._signing_in.end(secret)

    def word(self, request: Request) -> str:
        """What signing in must carry, which only a page that this browser got from here can know."""
        stranger = request.cookies.get(STRANGER.name, "")
        return csrf(stranger) if stranger else ""

    def closed(self, request: Request) -> Response:
        """The way to the sign-in."""
        return RedirectResponse("/login", 303)

    def routes(self) -> list[RuledRoute]:
        """The sign-in, and the page of accounts."""

        async def door(request: Request) -> Response:
            stranger = request.cookies.get(STRANGER.name) or secrets.token_urlsafe(32)
            secret = request.cookies.get(SESSION.name, "")
            inside = await run_in_threadpool(self.visitor, secret) is not None
            answer = JSONResponse({"csrf": csrf(stranger), "provider": self.provider, "inside": inside})
            STRANGER.give(answer, stranger)
            return answer

        async def listed(request: Request) -> Response:
            accounts = await run_in_threadpool(self._administration.all)
            return JSONResponse({"accounts": [asdict(one) for one in accounts]})

        async def change(request: Request) -> Response:
            wanted = await said(request, Change)
            return JSONResponse({"code": await run_in_threadpool(self._change, wanted, visitor_of(request).name)})

        return [
            page_route("/login", "login", "nobody"),
            RuledRoute("/api/door", door, "nobody"),
            page_route("/accounts", "accounts", "reader"),
            RuledRoute("/api/accounts", listed, "admin"),
            RuledRoute("/api/accounts", change, "admin", ["POST"]),
        ]

    def _change(self, wanted: Change, by: str) -> str:
        accounts = self._administration
        if wanted.do == "add":
            return accounts.add(wanted.name, wanted.role, by)
        if wanted.do == "code":
            return accounts.invite(wanted.name, by)
        if wanted.do == "role":
            accounts.set_role(wanted.name, wanted.role, by)
        elif wanted.do == "disable":
            accounts.disable(wanted.name, by)
        elif wanted.do == "enable":
            accounts.enable(wanted.name, by)
        else:
            accounts.sign_out(wanted.name, by)
        return ""

    def let_in(self, request: Request, admission: Admission) -> Response:
        """Give the browser its new session; the one that it had is over."""
        self.end(request.cookies.get(SESSION.name, ""))
        answer = JSONResponse({"name": admission.name})
        SESSION.give(answer, admission.secret)
        BROWSER.give(answer, admission.browser)
        STRANGER.take(answer)
        return answer

    async def checked(self, request: Request, check: Callable[[], _T]) -> _T:
        """The outcome of a check of who somebody is, of which few run at a time; a failure is told to the operator."""
        if self._checks.statistics().tasks_waiting >= _WAITING:
            raise SlowDownError(5)
        try:
            return await anyio.to_thread.run_sync(check, limiter=self._checks)
        except SignInError as fault:
            _LOG.warning("signing in failed from %s: %s", address(request), fault.what)
            raise


class PeopleWithPasswords(People):
    """Readers sign in by a password that they set with a one-time code."""

    open_paths: tuple[str, ...] = (*People.open_paths, "/api/sign-in", "/api/enrol")

    def routes(self) -> list[RuledRoute]:
        """Also the passwords' own."""

        async def sign_in(request: Request) -> Response:
            typed, known = await said(request, SignIn), request.cookies.get(BROWSER.name, "")
            by_password = self._signing_in.by_password
            admission = await self.checked(
                request, lambda: by_password(typed.name, typed.password, address(request), known)
            )
            return await run_in_threadpool(self.let_in, request, admission)

        async def enrol(request: Request) -> Response:
            typed, known = await said(request, Enrol), request.cookies.get(BROWSER.name, "")
            by_code = self._signing_in.by_code
            admission = await self.checked(
                request, lambda: by_code(typed.name, typed.code, typed.password, address(request), known)
            )
            return await run_in_threadpool(self.let_in, request, admission)

        async def password(request: Request) -> Response:
            typed, known = await said(request, Passwords), request.cookies.get(BROWSER.name, "")
            secret, change = request.cookies[SESSION.name], self._signing_in.change_password
            admission = await self.checked(request, lambda: change(secret, typed.old, typed.new, known))
            return await run_in_threadpool(self.let_in, request, admission)

        return [
            *super().routes(),
            RuledRoute("/api/sign-in", sign_in, "nobody", ["POST"]),
            RuledRoute("/api/enrol", enrol, "nobody", ["POST"]),
            RuledRoute("/api/password", password, "reader", ["POST"]),
        ]


def address(request: Request) -> str:
    """Where a request comes from, as the connection says; what a header claims does not count."""
    return request.client.host if request.client is not None else ""
