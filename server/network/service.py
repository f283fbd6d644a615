"""`medquorum coordinator serve`: SuperLink on loopback, the front door, and a look around every second.

The look around admits sites that the operator approved, shuts out those that were revoked, starts the runs that were
asked for, and starts again those that were cut off, by whatever killed them.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from ...privacy.certificates import issue
from ..run_folder import RunFolder
from .consortium import Consortium
from .errors import NetworkError, SuperLinkError
from .front_door import Limits, front_door, serve
from .requests import Request, end_of, forget_end, mark, requests
from .serving import serving
from .superlink import LOOPBACK, SuperLink, running

log = logging.getLogger("medquorum.coordinator")

LOOK_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 120.0


@dataclass(slots=True)
class _Started:
    """A run that Flower was given: its number there, how far it was, and whether its process has been seen at work."""

    flower: int
    progress: int
    seen: bool = False


@dataclass(frozen=True, slots=True)
class _Pause:
    """How long to wait before a run is started again, and until when."""

    seconds: float
    until: float


_NO_PAUSE = _Pause(_FIRST_PAUSE / 2.0, 0.0)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the front door listens (host, port) and under which names or addresses hospitals know it."""

    host: str
    port: int
    names: tuple[str, ...]


class Service:
    """The coordinator's processes. `run` returns after `stop`, or raises when the port cannot be had."""

    def __init__(self, folder: Path, address: Address, limits: Limits | None = None) -> None:
        self._folder = folder
        self._address = address
        self._limits = limits
        self._consortium = Consortium(folder)
        self._stop = threading.Event()
        self._settled: dict[bytes, bool] = {}
        self._started: dict[str, _Started] = {}
        self._pauses: dict[str, _Pause] = {}
        self.ready = threading.Event()

    def stop(self) -> None:
        """Ask `run` to return; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop`. A SuperLink that ends by itself is started again. NetworkError when another service
        serves the folder or the port cannot be had."""
        log.info("consortium %s", self._consortium.name)
        with serving(self._folder):
            self._run()

    def _run(self) -> None:
        inner = issue(self._folder, "loopback", (LOOPBACK, "localhost"))
        while not self._stop.is_set():
            self._settled.clear()
            self._started.clear()
            try:
                with running(self._folder / "flower", inner) as link:
                    self._serve(link)
            except SuperLinkError as fault:
                log.error("%s Starting it again.", fault)
                self._stop.wait(2.0)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """What uvicorn is given; a test overrides it to write down what arrives."""
        return app

    def _serve(self, link: SuperLink) -> None:
        link.stop_all_runs()
        outer = issue(self._folder, "front", self._address.names)
        app = front_door(
            f"https://{LOOPBACK}:{link.port}",
            link.context,
            self._consortium.receive,
            self._consortium.listing,
            self._limits,
        )
        server = serve(self.wrap(app), self._address.host, self._address.port, outer)
        thread = threading.Thread(target=server.run, name="front door", daemon=True)
        thread.start()
        try:
            self._look_around(link, server, thread)
        finally:
            self.ready.clear()
            server.should_exit = True
            thread.join(10.0)

    def _look_around(self, link: SuperLink, server: uvicorn.Server, thread: threading.Thread) -> None:
        while not self._stop.is_set():
            if not thread.is_alive():
                raise NetworkError(
                    f"port {self._address.port} on {self._address.host} cannot be listened on",
                    fix="choose another with --port, or stop what holds it",
                )
            if not link.alive:
                raise SuperLinkError("SuperLink ended by itself", where=str(self._folder / "flower" / "superlink.log"))
            if server.started and not self.ready.is_set():
                log.info("listening on %s port %d", self._address.host, self._address.port)
                self.ready.set()
            self._admit(link)
            for request in requests(self._folder):
                self._attend(link, request)
            self._stop.wait(LOOK_SECONDS)

    def _admit(self, link: SuperLink) -> None:
        for site, record in self._consortium.records().items():
            key = record.enrolment.node_key
            if record.approved and self._settled.get(key) is not True:
                log.info("site %s is admitted (node %d)", site, link.register(key))
                self._settled[key] = True
            elif record.revoked and self._settled.get(key) is not False:
                link.unregister(key)
                self._settled[key] = False
                log.info("site %s is shut out", site)

    def _attend(self, link: SuperLink, request: Request) -> None:
        """Start a run that was asked for, notice one that ended, start one again that was cut off or may be cured."""
        if request.state in ("finished", "stopped"):
            return
        started = self._started.get(request.name)
        if started is None:
            if request.state == "requested" or time.monotonic() >= self._pauses.get(request.name, _NO_PAUSE).until:
                self._start(link, request)
            return
        if RunFolder.is_held(request.folder):
            started.seen = True
            return
        # The process writes down how it ended before it lets go of the run, and Flower hears of a killed one late.
        over = "its process is gone" if started.seen else link.run_is_over(started.flower)
        if over is None:
            return
        link.stop_run(started.flower)
        del self._started[request.name]
        end = end_of(request.folder)
        if end is None:
            log.warning("run %s was cut off (%s); going on with it", request.name, over)
        else:
            mark(end)
            level = logging.INFO if end.state == "finished" else logging.ERROR
            log.log(level, "run %s is %s. %s", end.name, end.state, end.detail)
        if end is None or end.state == "waiting":
            self._pause(request, started)

    def _pause(self, request: Request, started: _Started) -> None:
        """Wait before the next start, longer each time that one made no progress."""
        progress = _progress(request)
        known = self._pauses.get(request.name, _NO_PAUSE)
        seconds = _FIRST_PAUSE if progress != started.progress else min(2.0 * known.seconds, _LONGEST_PAUSE)
        self._pauses[request.name] = _Pause(seconds, time.monotonic() + seconds)

    def _start(self, link: SuperLink, request: Request) -> None:
        forget_end(request.folder)
        self._started[request.name] = _Started(link.start_run(request.folder), _progress(request))
        mark(replace(request, state="running", detail=""))
        log.info("run %s is started", request.name)


def _progress(request: Request) -> int:
    """A number that changes whenever the run gets further."""
    kept = request.folder / "checkpoint.cbor"
    return kept.stat().st_mtime_ns if kept.exists() else 0
