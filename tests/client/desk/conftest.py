"""A small hospital with a desk: ten studies of eight patients, one of them kept for evaluation."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import dicom
from hospitals import RIGHTS, make_release
from starlette.testclient import TestClient

from medquorum.client.annotations import new_id
from medquorum.client.desk.app import desk_app
from medquorum.client.desk.printed import PrintedDoor
from medquorum.client.desk.room import ReadingRoom
from medquorum.client.desk.rooms import Rooms
from medquorum.client.desk.sessions import Sessions
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import NewInstance

HOST = "127.0.0.1:8787"


def picture(number: int, rows: int = 40, columns: int = 32) -> np.ndarray:
    """A 12-bit image."""
    draw = np.random.default_rng(number)
    return draw.integers(0, 4096, (rows, columns)).astype(np.uint16)


def new_image(number: int, patient: str, modality: str = "DX", **elements: Any) -> NewInstance:
    """The only image of study `number`."""
    pixels = picture(number)
    content = dicom(pixels, number, WindowCenter="2000", WindowWidth="3000", **elements)
    made = f"202601{number + 1:02} 101500"
    place = f"{number}.dcm", "dicom", content
    uids = f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1"
    return NewInstance("H", patient, *uids, modality, "CHEST", "PA", "", *pixels.shape, 1, made, *place)  # pyright: ignore[reportArgumentType]


def fill(node: Node, images: list[NewInstance], hidden: tuple[str, ...] = ()) -> list[str]:
    """Store and propose; the images' ids. hidden: patients kept for evaluation."""
    stored = [node.store.add(image) for image in images]
    kept = {one.patient for one, image in zip(stored, images, strict=True) if image.patient_id in hidden}
    node.store.set_held_out(sorted(kept), True)
    release = node.releases.current()
    if release is not None:
        propose(node.store, release)
    return [one.instance for one in stored]


@dataclass
class Desk:
    """An open node, its images, its room, and a browser that has come in."""

    node: Node
    images: list[str]
    rooms: Rooms
    sessions: Sessions
    client: TestClient
    word: str

    @property
    def room(self) -> ReadingRoom:
        """The reader's own."""
        return self.rooms.of("anna", "reader")

    def action(self, image: str, **changes: Any) -> dict[str, Any]:
        """An action of the page: calls the nodule present."""
        plain: dict[str, Any] = {
            "id": new_id(),
            "instance": image,
            "frame": 0,
            "base": None,
            "proposal": None,
            "states": {"nodule": "present"},
            "regions": [],
            "comment": "",
            "restates": None,
            "actions": 1,
            "seconds": 2.5,
        }
        return {**plain, **changes}

    def say(self, action: dict[str, Any]) -> Any:
        """Send an action as the page does."""
        return self.client.post("/api/say", json=action, headers={"x-medquorum-csrf": self.word})

    def study(self, image: str, first: bool = False) -> Any:
        """The study that holds an image, as the page gets it."""
        rows = self.client.get("/api/worklist?show=all&limit=200").json()["rows"]
        study = next(row["study"] for row in rows if image in row["images"])
        return self.client.get(f"/api/study/{study}?show=all&first={int(first)}").json()


def visitor(rooms: Rooms, sessions: Sessions, base: str = f"http://{HOST}", reader: str = "anna") -> TestClient:
    """A browser that has not come in yet."""
    app = desk_app(rooms, PrintedDoor(sessions, reader), [HOST])
    return TestClient(app, base_url=base, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Generator[Desk, None, None]:
    """Ten studies; P0 has two, P7 is kept for evaluation, study 9 is a CT that nobody asks about."""
    folder: Path = tmp_path_factory.mktemp("desk")
    node = Node.create(folder / "node", "A", held_out_share=0.0, simulation=RIGHTS)
    node.releases.adopt(make_release())
    images = [new_image(number, f"P{number % 9}") for number in range(9)]
    found = fill(node, [*images, new_image(9, "P0", "CT")], hidden=("P7",))
    rooms = Rooms(node.store, node.releases)
    sessions = Sessions(folder / "node" / "desk.sessions", "anna")
    client = visitor(rooms, sessions)
    client.get(f"/enter?token={sessions.token()}")
    yield Desk(node, found, rooms, sessions, client, client.get("/api/about").json()["csrf"])
    node.close()
