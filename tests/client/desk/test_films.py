"""Images of several frames: each as its file holds it, each with a timeline of its own, one decryption for all."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import dataset, written
from hospitals import RIGHTS, make_release

from medquorum.client.annotations import new_id
from medquorum.client.desk.frames import read_frame
from medquorum.client.desk.room import ReadingRoom, UnknownError
from medquorum.client.desk.saying import Action
from medquorum.client.desk.worklist import Query
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import NewInstance, Store

FRAMES = np.random.default_rng(9).integers(0, 4096, (5, 24, 20)).astype(np.uint16)
ALL = Query(show="all")


def film(number: int, patient: str) -> NewInstance:
    """A file of five frames that asks to be played at 12.5 a second."""
    made = dataset(FRAMES[0], number, NumberOfFrames=5, CineRate=12.5, WindowCenter="2000", WindowWidth="3000")
    made.PixelData = FRAMES.astype("<u2").tobytes()
    uids = f"1.9.{number}", f"1.9.{number}.1", f"1.9.{number}.1.1"
    return NewInstance(
        "H", patient, *uids, "DX", "CHEST", "PA", "", 24, 20, 5, "20260101", "film.dcm", "dicom", written(made)
    )


@pytest.fixture
def node(tmp_path: Path) -> Generator[Node, None, None]:
    """Two films of two patients, proposed."""
    with Node.create(tmp_path / "node", "A", held_out_share=0.0, simulation=RIGHTS) as made:
        made.releases.adopt(make_release())
        for number in (1, 2):
            made.store.add(film(number, f"P{number}"))
        release = made.releases.current()
        assert release is not None
        propose(made.store, release)
        yield made


def act(image: str, frame: int, state: str, **changes: Any) -> Action:
    """A reader's action on a frame."""
    plain: dict[str, Any] = {"id": new_id(), "instance": image, "frame": frame, "states": {"nodule": state}}
    return Action.model_validate({**plain, "actions": 1, "seconds": 1.0, **changes})


def test_each_frame_is_the_file_s_own_and_the_file_is_opened_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    image = node.store.instances()[0].id
    room = ReadingRoom(node.store, node.releases, "anna")
    room.sync()
    content, asked = node.store.content(image), list[str]()
    original = Store.content

    def counted(store: Store, instance: str) -> bytes:
        asked.append(instance)
        return original(store, instance)

    monkeypatch.setattr(Store, "content", counted)
    for number in range(5):
        data = room.frame(image, number)
        assert FRAMES[number].tobytes() in data
        assert read_frame(content, "dicom", number).rate == 12.5
    assert asked == [image]
    with pytest.raises(UnknownError):
        room.frame(image, 5)
    node.store.set_held_out([node.store.instances()[1].patient], True)  # who is in the store has changed
    room.sync()
    room.frame(image, 0)
    assert asked == [image, image]


def test_frames_have_timelines_of_their_own_and_the_model_speaks_of_the_first(node: Node) -> None:
    rows = node.store.instances()
    image = rows[0].id
    room = ReadingRoom(node.store, node.releases, "anna")
    room.sync()
    study = room.study_of(image)
    first, third = act(image, 0, "present"), act(image, 3, "absent")
    assert room.say(third)["frame"] == 3
    shown = room.study(study, ALL, first=False)["images"][0]
    assert (shown["frames"], sorted(shown["lines"]), shown["lines"]["3"]["at"]) == (5, ["0", "3"], 1)
    entry = next(row for row in room.worklist(ALL, 0, 9)["rows"] if row["study"] == study)
    assert entry["status"] == "read", "nobody states every frame"
    room.say(first)
    undone = room.say(act(image, 3, "absent", states={}, restates="", base=third.id))
    assert (undone["at"], undone["frame"]) == (0, 3)
    lines = room.study(study, ALL, first=False)["images"][0]["lines"]
    assert [lines[frame]["at"] for frame in ("0", "3")] == [1, 0]
    assert lines["0"]["last"] == first.id
    (proposal,) = node.store.proposals_of(image)
    assert proposal.frame == 0
    # What is trained on names the frame.
    other = ReadingRoom(node.store, node.releases, "bert")
    other.sync()
    other.say(act(image, 4, "present"))
    assert {(one.frame, one.reader) for one in node.store.history(image)} == {(0, "anna"), (3, "anna"), (4, "bert")}
    assert other.study(study, ALL, first=False)["images"][0]["others"] == 1


def test_reading_another_frame_first_does_not_show_the_proposal(node: Node) -> None:
    image = node.store.instances()[0].id
    room = ReadingRoom(node.store, node.releases, "anna")
    room.sync()
    study = room.study_of(image)
    room.say(act(image, 2, "present"))
    assert room.study(study, ALL, first=True)["images"][0]["withheld"] == "first"
