"""Findings of a side: what the page gets of them and may say, of images of both sides and of one."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from dicom_files import dicom
from hospitals import RIGHTS, SIDED_TASK, make_release
from starlette.testclient import TestClient

from medquorum.client.annotations import new_id
from medquorum.client.desk.rooms import Rooms
from medquorum.client.desk.sessions import Sessions
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import NewInstance

from .conftest import picture, visitor


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Node, dict[str, str], TestClient], None, None]:
    """A node with a film of a left side, one of a right side and one of both; the images by side; a browser inside."""
    folder: Path = tmp_path_factory.mktemp("sides")
    with Node.create(folder / "node", "A", held_out_share=0.0, simulation=RIGHTS) as node:
        release = make_release(task=SIDED_TASK)
        node.releases.adopt(release)
        images: dict[str, str] = {}
        for number, side in enumerate(("L", "R", "")):
            pixels = picture(number)
            uids = f"1.2.{number}", f"1.2.{number}.1", f"1.2.{number}.1.1"
            place = *pixels.shape, 1, "20260101", f"{number}.dcm", "dicom", dicom(pixels, number)
            new = NewInstance("H", f"P{number}", *uids, "DX", "CHEST", "PA", side, *place)  # pyright: ignore[reportArgumentType]
            images[side] = node.store.add(new).instance
        propose(node.store, release)
        sessions = Sessions(folder / "node" / "desk.sessions", "anna")
        client = visitor(Rooms(node.store, node.releases), sessions)
        client.get(f"/enter?token={sessions.token()}")
        yield node, images, client


def shown(client: TestClient, image: str) -> dict:  # type: ignore[type-arg]
    rows = client.get("/api/worklist?show=all&limit=200").json()["rows"]
    study = next(row["study"] for row in rows if image in row["images"])
    return client.get(f"/api/study/{study}?show=all").json()


def say(client: TestClient, image: str, states: dict[str, str]) -> int:
    action = {
        "id": new_id(), "instance": image, "frame": 0, "states": states, "regions": [], "actions": 1, "seconds": 1.0
    }  # fmt: skip
    word = client.get("/api/about").json()["csrf"]
    return client.post("/api/say", json=action, headers={"x-medquorum-csrf": word}).status_code


def test_the_page_hears_of_each_side_and_what_an_image_is_asked_for(
    page: tuple[Node, dict[str, str], TestClient],
) -> None:
    _, images, client = page
    for side, keys in (
        ("L", ["effusion_left", "nodule"]),
        ("R", ["effusion_right", "nodule"]),
        ("", ["effusion_left", "effusion_right", "nodule"]),
    ):
        found = shown(client, images[side])
        (image,) = found["images"]
        assert image["asked"] == keys == list(image["proposal"]["probabilities"])
        assert [one["laterality"] for one in found["release"]["findings"]] == ["L", "R", ""]
        assert {one["code"] for one in found["release"]["findings"][:2]} == {"60046008"}


def test_a_film_of_one_side_is_not_told_of_the_other(page: tuple[Node, dict[str, str], TestClient]) -> None:
    node, images, client = page
    assert say(client, images["L"], {"nodule": "absent", "effusion_right": "present"}) == 422
    assert client.get(f"/api/heatmap/{images['L']}/effusion_right").status_code == 404
    assert client.get(f"/api/heatmap/{images['L']}/effusion_left").status_code == 200
    assert say(client, images["L"], {"nodule": "absent", "effusion_left": "present"}) == 200
    (kept,) = node.store.history(images["L"])
    assert dict(kept.states) == {"nodule": "absent", "effusion_left": "present"}
    # All that it is asked for is said, so it has been read.
    rows = client.get("/api/worklist?show=read").json()["rows"]
    assert [images["L"]] in [row["images"] for row in rows]
