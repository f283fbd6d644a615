"""What the pages need to know of how people come in: by an address that was printed, or by an account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from ..accounts.roles import Role
from .ruled import RuledRoute


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is behind an open session. session: a name for it that opens nothing."""

    name: str
    role: Role
    session: str


@dataclass(frozen=True, slots=True)
class Cookie:
    """The cookie that carries a session. secure: sent over TLS alone. lifetime: seconds until the browser drops it."""

    name: str
    secure: bool
    lifetime: float

    def give(self, response: Response, secret: str) -> None:
        """Give the browser its session."""
        response.set_cookie(
            self.name,
            secret,
            max_age=int(self.lifetime),
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="strict",
        )

    def take(self, response: Response) -> None:
        """Have the browser forget its session."""
        response.delete_cookie(self.name, path="/", secure=self.secure, httponly=True, samesite="strict")


class Door(Protocol):
    """A way in. open_paths: what is answered without a session. crossed_paths: those of them to which a link on another
    site may lead. accounts: whether it is people who sign in, rather than a browser that was let in; provider: whether
    they do so with the hospital's identity provider."""

    cookie: Cookie
    open_paths: tuple[str, ...]
    crossed_paths: tuple[str, ...]
    accounts: bool
    provider: bool

    def visitor(self, secret: str) -> Visitor | None:
        """Who is behind a session's secret; None when it opens nothing (any more)."""
        ...

    def end(self, secret: str) -> None:
        """Close a session, at once."""
        ...

    def word(self, request: Request) -> str:
        """What a change must carry that is made without a session, as signing in is; "" where there is none."""
        ...

    def closed(self, request: Request) -> Response:
        """What a browser without a session gets in place of a page."""
        ...

    def routes(self) -> list[RuledRoute]:
        """What belongs to this way in alone."""
        ...
