"""Serving the desk on this machine alone: one listener on 127.0.0.1, by itself or beside a resident node."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from ..audit_log import this_user
from ..errors import NodeError
from ..releases import Releases
from ..store import Store
from .app import desk_app
from .printed import PrintedDoor
from .rooms import Rooms
from .sessions import Sessions

HOST = "127.0.0.1"
PORT = 8787


class DeskServer:
    """The desk of one reader over a node's open store. port: 0 takes any that is free."""

    def __init__(self, store: Store, releases: Releases, folder: Path, reader: str, port: int = PORT) -> None:
        self._socket = _listen(port)
        self.port = int(self._socket.getsockname()[1])
        self._rooms = Rooms(store, releases)
        self._sessions = Sessions(folder / "desk.sessions", reader)
        hosts = [f"{name}:{self.port}" for name in (HOST, "localhost")]
        self._server = uvicorn.Server(
            uvicorn.Config(
                desk_app(self._rooms, PrintedDoor(self._sessions, reader), hosts),
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                timeout_graceful_shutdown=3,
            )
        )
        self._thread: threading.Thread | None = None

    def address(self) -> str:
        """An address that opens the desk once."""
        return f"http://{HOST}:{self.port}/enter?token={self._sessions.token()}"

    def prepare(self) -> None:
        """Read the worklist, so that the first page does not wait for it."""
        self._rooms.sync()

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until a signal ends it. ready: called once connections are accepted by the listener."""
        # Uvicorn ends on a signal and then raises it once more, for whoever handled it before: that is us, so that the
        # caller closes the store.
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: None)
        ready()
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Serve in a thread beside other work; `stop` ends it."""
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="desk", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End serving and wait for the requests at hand."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._socket.close()


@contextmanager
def served_beside(store: Store, releases: Releases, folder: Path, port: int) -> Generator[DeskServer, None, None]:
    """The desk of this machine's user beside other work with the store, for as long as the block runs."""
    server = DeskServer(store, releases, folder, this_user(), port)
    server.prepare()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def announcement(address: str) -> str:
    """What is printed once the pages are served."""
    return f"Open this address in a browser on this machine; it works once:\n\n    {address}\n"


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(64)
    except OSError as fault:
        listener.close()
        raise NodeError(
            f"port {port} cannot be listened on ({fault.strerror})", where=HOST, fix="give another with --port"
        ) from fault
    return listener
