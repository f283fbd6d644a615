"""The coordinator's one public port: TLS 1.3, a handful of Fleet routes, enrolment, and nothing else.

What a node needs of Flower is passed on to SuperLink on loopback byte for byte, after its size and its sender's rate
are checked; every other path of SuperLink (its Control and Runtime interfaces, the routes that hand out or register
code and nodes) does not exist here.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ...privacy.certificates import Issued
from .errors import EnrolmentError

# What a resident node calls. Not passed on: register-node and unregister-node (admission is the operator's), get-fab
# and get-run (no code travels).
FLEET_ROUTES = frozenset(
    {
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "pull-object",
        "push-object",
        "confirm-message-received",
    }
)
PASSED_HEADERS = frozenset(
    {
        *("content-type", "accept", "flwr-public-key", "flwr-signature", "flwr-timestamp"),
        *("flwr-package-name", "flwr-package-version", "flwr-component-name"),
    }
)
RETURNED_HEADERS = frozenset({"content-type", "flwr-version-incompatibility-message"})


@dataclass(frozen=True, slots=True)
class Limits:
    """body: bytes of one request. rate, burst: requests a second and at once from one address. enrolments: the
    same for enrolment, which writes to disk."""

    body: int = 256 * 1024 * 1024
    rate: float = 200.0
    burst: float = 600.0
    enrolment_body: int = 16 * 1024
    enrolment_rate: float = 0.2
    enrolment_burst: float = 20.0


@dataclass(slots=True)
class TokenBucket:
    """Allows `rate` events a second and `burst` at once for each key; forgets keys that are idle."""

    rate: float
    burst: float
    clock: Callable[[], float] = time.monotonic
    _levels: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def allow(self, key: str) -> bool:
        """Take one token of `key`; False when there is none."""
        now = self.clock()
        level, since = self._levels.get(key, (self.burst, now))
        level = min(self.burst, level + (now - since) * self.rate)
        if len(self._levels) > 10_000:
            full = self.burst / self.rate
            self._levels = {name: held for name, held in self._levels.items() if now - held[1] < full}
        self._levels[key] = (level - 1.0 if level >= 1.0 else level, now)
        return level >= 1.0


Enrol = Callable[[bytes], bytes]
Publish = Callable[[], bytes]


def front_door(
    superlink: str, context: ssl.SSLContext, enrol: Enrol, publish: Publish, limits: Limits | None = None
) -> Starlette:
    """The ASGI application.

    superlink: base address of SuperLink ("https://127.0.0.1:PORT"); context: trusts its certificate. `enrol` takes an
    enrolment's bytes and returns a receipt, or raises EnrolmentError; `publish` returns the sites' public keys.
    """
    limits = limits or Limits()
    requests = TokenBucket(limits.rate, limits.burst)
    enrolments = TokenBucket(limits.enrolment_rate, limits.enrolment_burst)
    upstream = httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False, timeout=120.0)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        await upstream.aclose()

    def guarded(
        bucket: TokenBucket, size: int, inner: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def outer(request: Request) -> Response:
            if not bucket.allow(request.client.host if request.client else ""):
                return PlainTextResponse("too many requests", 429, {"Retry-After": "1"})
            length = request.headers.get("content-length", "0" if request.method == "GET" else "")
            if not length.isdigit():
                return PlainTextResponse("a Content-Length is required", 411)
            if int(length) > size:
                return PlainTextResponse("the request is too large", 413)
            return await inner(request)

        return outer

    async def fleet(request: Request) -> Response:
        route = request.path_params["route"]
        if route not in FLEET_ROUTES:
            return PlainTextResponse("not found", 404)
        headers = {name: value for name, value in request.headers.items() if name in PASSED_HEADERS}
        try:
            answer = await upstream.post(f"{superlink}/v1/fleet/{route}", content=await request.body(), headers=headers)
        except httpx.HTTPError:
            return PlainTextResponse("the coordinator is restarting", 503, {"Retry-After": "2"})
        kept = {name: value for name, value in answer.headers.items() if name in RETURNED_HEADERS}
        return Response(answer.content, answer.status_code, kept)

    async def enrolment(request: Request) -> Response:
        try:
            return Response(enrol(await request.body()), media_type="application/cbor")
        except EnrolmentError as fault:
            return PlainTextResponse(str(fault), 400)

    async def consortium(_: Request) -> Response:
        return Response(publish(), media_type="application/cbor")

    routes = [
        Route("/v1/fleet/{route}", guarded(requests, limits.body, fleet), methods=["POST"]),
        Route("/v1/medquorum/enrol", guarded(enrolments, limits.enrolment_body, enrolment), methods=["POST"]),
        Route("/v1/medquorum/consortium", guarded(requests, 0, consortium), methods=["GET"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def serve(app: ASGIApp, host: str, port: int, certificate: Issued) -> uvicorn.Server:
    """A uvicorn server for `app` that speaks TLS 1.3 and nothing older; the caller runs it."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ssl_certfile=str(certificate.certificate),
        ssl_keyfile=str(certificate.key),
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=75,
        lifespan="on",
    )
    config.load()
    if config.ssl is None:
        raise EnrolmentError("the front door has no certificate")
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    return uvicorn.Server(config)
