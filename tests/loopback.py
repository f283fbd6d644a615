"""On loopback: a consortium's front door with a real certificate, and a hospital's HTTP proxy with its habits."""

from __future__ import annotations

import base64
import select
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from medquorum.privacy import wire
from medquorum.privacy.certificates import issue, make_authority
from medquorum.privacy.enrolment import ConsortiumList, Enrolment, ListedSite, sign_enrolment
from medquorum.privacy.identity import Identity
from medquorum.server.network.front_door import front_door, serve
from medquorum.server.network.superlink import LOOPBACK, free_port


@dataclass(frozen=True, slots=True)
class Door:
    """A front door: its address, the authority to pin, and the identity that it shows."""

    address: str
    authority: Path
    identity: Identity

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@contextmanager
def open_door(
    folder: Path, hosts: tuple[str, ...] = (LOOPBACK,), listed: dict[str, Identity] | None = None
) -> Generator[Door]:
    """A front door on loopback that takes every enrolment. hosts: whom its certificate names; listed: other sites."""
    folder.mkdir()
    make_authority(folder, "chest")
    certificate, identity, port = issue(folder, "front", hosts), Identity.create(), free_port()
    sites = tuple(
        ListedSite(sign_enrolment(own, Enrolment(site, own.public, b"key", "0")), approved=True)
        for site, own in (listed or {}).items()
    )
    listing = wire.encode(ConsortiumList("chest", identity.public, sites))
    app = front_door("http://127.0.0.1:9", ssl.create_default_context(), lambda body: body, lambda: listing)
    server = serve(app, LOOPBACK, port, certificate)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
    try:
        yield Door(f"{LOOPBACK}:{port}", certificate.authority, identity)
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Proxy:
    """A proxy that knows CONNECT and nothing else. login: "user:password" that it asks for. refused: the status with
    which it answers every CONNECT. opener: the context with which it opens TLS instead of passing it on. seen: what was
    asked for."""

    login: str = ""
    refused: int = 0
    opener: ssl.SSLContext | None = None
    seen: list[str] = field(default_factory=list[str])

    @contextmanager
    def listening(self) -> Generator[str]:
        """Its URL, while it listens."""
        with socket.create_server((LOOPBACK, 0)) as listener:
            listener.settimeout(0.1)
            over = threading.Event()
            thread = threading.Thread(target=self._accept, args=(listener, over), daemon=True)
            thread.start()
            try:
                yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
            finally:
                over.set()
                thread.join()

    def _accept(self, listener: socket.socket, over: threading.Event) -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(30)
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            self.seen.append(f"{method} {target}")
            expected = "Basic " + base64.b64encode(self.login.encode()).decode()
            given = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            if self.login and given.get("proxy-authorization") != expected:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                return
            if method != "CONNECT" or self.refused:
                client.sendall(f"HTTP/1.1 {self.refused or 405} No\r\ncontent-length: 0\r\n\r\n".encode())
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if self.opener is not None:
                with suppress(ssl.SSLError):  # whoever checks certificates hangs up here
                    self.opener.wrap_socket(client, server_side=True).close()
                return
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                _pump(client, server)


def _pump(one: socket.socket, other: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([one, other], [], [], 30)
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)


def inspector(folder: Path) -> ssl.SSLContext:
    """What a TLS-inspecting proxy shows: a certificate for loopback by an authority of the hospital's own."""
    folder.mkdir()
    make_authority(folder, "Hospital inspection")
    certificate = issue(folder, "front", (LOOPBACK,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context
