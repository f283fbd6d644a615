"""A desk with accounts for tests: readers who sign in, and browsers that the page lets in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from starlette.testclient import TestClient

from medquorum.client.accounts.administration import Administration
from medquorum.client.accounts.book import Book
from medquorum.client.accounts.passwords import Hasher
from medquorum.client.accounts.roles import Role
from medquorum.client.accounts.signing_in import SigningIn
from medquorum.client.desk.app import desk_app
from medquorum.client.desk.people import PeopleWithPasswords
from medquorum.client.desk.provided import PeopleFromProvider
from medquorum.client.desk.rooms import Rooms

NAME = "reading.hospital.example"
BASE = f"https://{NAME}:8787"
PASSWORD = "seven quiet lanterns drift"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Noted:
    """A trail that keeps in memory what is noted."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, dict[str, Any]]] = []

    def append(self, kind: str, who: str, **what: Any) -> None:
        """Keep one entry."""
        self.entries.append((kind, who, what))

    def of(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """The entries of a kind."""
        return [(who, what) for found, who, what in self.entries if found == kind]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Ward:
    """Accounts in a folder, and a desk for them."""

    def __init__(self, folder: Path, rooms: Rooms | None = None) -> None:
        self.folder, self.clock, self.noted = folder, Clock(), Noted()
        self.book = Book(folder)
        self.accounts = Administration(self.book, self.noted, self.clock)
        self.signing_in = SigningIn(self.book, self.noted, ("Riverside",), hasher=Hasher(CHEAP), clock=self.clock)
        self.door = PeopleWithPasswords(self.signing_in, self.accounts)
        self.rooms = rooms
        self.provided: PeopleFromProvider | None = None

    def reader(self, name: str, role: Role = "reader", password: str = PASSWORD) -> None:
        """An account whose reader has set a password."""
        self.signing_in.by_code(name, self.accounts.add(name, role, "it"), password, "10.0.0.1", "")

    def browser(self, address: str = "10.0.0.9") -> Browser:
        """A browser at an address that nobody has signed in from."""
        assert self.rooms is not None
        app = desk_app(self.rooms, self.door, [f"{NAME}:8787"])
        return Browser(TestClient(app, base_url=BASE, raise_server_exceptions=False, client=(address, 50000)))


class Browser:
    """What the page does, without the page."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def post(self, path: str, sent: dict[str, Any]) -> httpx.Response:
        """A change as the page sends it: with the word of its session, or of the door."""
        word = self.client.get("/api/about")
        if word.status_code != 200:
            word = self.client.get("/api/door")
        headers = {"x-medquorum-csrf": word.json()["csrf"], "origin": BASE}
        return self.client.post(path, json=sent, headers=headers)

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """Sign in as the page does."""
        word = self.client.get("/api/door").json()["csrf"]
        headers = {"x-medquorum-csrf": word, "origin": BASE}
        return self.client.post("/api/sign-in", json={"name": name, "password": password}, headers=headers)


@contextmanager
def ward(folder: Path, rooms: Rooms | None = None) -> Generator[Ward]:
    """Accounts in a folder, closed in the end."""
    made = Ward(folder, rooms)
    try:
        yield made
    finally:
        made.book.close()
