"""Serving the desk: on this machine alone, or on the LAN; by itself or beside a resident node."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from ..releases import Releases
from ..store import Store
from .app import desk_app
from .doors import Door
from .exposure import Exposure, ExposureError, host_and_port, listener, tls
from .printed import PrintedDoor
from .rooms import Rooms
from .sessions import FILE as SESSIONS
from .sessions import Sessions

if TYPE_CHECKING:
    from ..accounts.book import Book

HOST = "127.0.0.1"
PORT = 8787


class Serving(ABC):
    """A desk on a listener. context: TLS; None: plain, which is for this machine alone."""

    def __init__(
        self, rooms: Rooms, door: Door, hosts: list[str], where: socket.socket, context: ssl.SSLContext | None = None
    ) -> None:
        self._rooms = rooms
        self._socket = where
        self.port = int(where.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                desk_app(rooms, door, hosts),
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                timeout_graceful_shutdown=3,
                ssl_context_factory=None if context is None else lambda *_: context,
            )
        )
        self._thread: threading.Thread | None = None

    @abstractmethod
    def announcement(self) -> str:
        """What is printed once the pages are served."""

    def prepare(self) -> None:
        """Read the worklist, so that the first page does not wait for it."""
        self._rooms.sync()

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until a signal ends it. ready: called once connections are accepted by the listener."""
        # Uvicorn ends on a signal and then raises it once more, for whoever handled it before: that is us, so that the
        # caller closes the store. One that comes before uvicorn listens for signals ends it as well.
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: setattr(self._server, "should_exit", True))
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
    def beside(self) -> Generator[Serving]:
        """Serve beside other work for as long as the block runs."""
        self.prepare()
        self.start()
        try:
            yield self
        finally:
            self.stop()


class DeskServer(Serving):
    """The desk of one reader on this machine over a node's open store. port: 0 takes any that is free."""

    def __init__(self, store: Store, releases: Releases, folder: Path, reader: str, port: int = PORT) -> None:
        where = listener(HOST, port, "--port")
        self._sessions = Sessions(folder / SESSIONS, reader)
        hosts = [f"{name}:{where.getsockname()[1]}" for name in (HOST, "localhost")]
        super().__init__(Rooms(store, releases), PrintedDoor(self._sessions, reader), hosts, where)

    def address(self) -> str:
        """An address that opens the desk once."""
        return f"http://{HOST}:{self.port}/enter?token={self._sessions.token()}"

    def announcement(self) -> str:
        """An address that opens the desk once, in words."""
        return f"Open this address in a browser on this machine; it works once:\n\n    {self.address()}\n"


class LanServer(Serving):
    """The desk on the hospital's LAN over a node's open store, for whoever has an account.

    Raises ExposureError when there is no certificate, no account, or no way to listen.
    """

    def __init__(self, store: Store, releases: Releases, folder: Path, exposure: Exposure) -> None:
        from ..accounts.book import Book

        context = tls(exposure)
        book = Book(folder)
        where = listener(*host_and_port(exposure.listen), "--listen")
        hosts = exposure.hosts(int(where.getsockname()[1]))
        try:
            door = people(book, store, exposure, f"https://{hosts[0]}")
        except BaseException:
            where.close()
            book.close()
            raise
        self.addresses = [f"https://{host}/" for host in hosts]
        self._book = book
        super().__init__(Rooms(store, releases), door, hosts, where, context)

    def announcement(self) -> str:
        """Where the desk is, in words."""
        return f"Readers with an account open {' or '.join(self.addresses)}\n"

    def stop(self) -> None:
        """Also close the accounts' file."""
        super().stop()
        self._book.close()


def people(book: Book, store: Store, exposure: Exposure, origin: str) -> Door:
    """The way in for people: by passwords, or by the hospital's identity provider where its settings are given.

    origin: where browsers find the desk, as "https://reading.hospital:8787".
    """
    from ..accounts.administration import Administration
    from ..accounts.signing_in import SigningIn

    administration, words = Administration(book, store.trail), (store.setting("site"),)
    if exposure.oidc is not None:
        from ..accounts.oidc.flow import Flow
        from ..accounts.oidc.provider import Provider
        from ..accounts.oidc.settings import OidcSettings
        from .provided import BACK, PeopleFromProvider

        settings = OidcSettings.read(exposure.oidc)
        signing_in = SigningIn(book, store.trail, words, provider=True)
        flow = Flow(settings, Provider(settings), signing_in, f"{origin}{BACK}")
        return PeopleFromProvider(signing_in, administration, flow)
    from .people import PeopleWithPasswords

    if not administration.all():
        raise ExposureError(
            "nobody has an account yet",
            where=exposure.listen,
            fix="make the first one: medquorum node reader add NAME --role admin",
        )
    signing_in = SigningIn(book, store.trail, words)
    signing_in.prepare()
    return PeopleWithPasswords(signing_in, administration)


def serving(
    store: Store, releases: Releases, folder: Path, reader: str, port: int, exposure: Exposure | None
) -> Serving:
    """The desk as asked: on the LAN with an exposure, else for one reader on this machine."""
    if exposure is not None:
        return LanServer(store, releases, folder, exposure)
    return DeskServer(store, releases, folder, reader, port)
