"""What the pages get and what becomes of what they say, through HTTP, over a real store."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest
from hospitals import RIGHTS, make_release
from typer.testing import CliRunner

from medquorum.client.annotations import Mask, Proposal, Region, new_id, utc_now
from medquorum.client.commands import node as cli
from medquorum.client.desk.room import ReadingRoom
from medquorum.client.desk.saying import Action
from medquorum.client.desk.serving import DeskServer
from medquorum.client.desk.worklist import Query
from medquorum.client.entering import EntryRule
from medquorum.client.errors import NodeError, StoreBusyError, StoreError
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import Store

from .conftest import Desk, fill, new_image


def image_of(desk: Desk, number: int) -> Any:
    """The only image of a study as the page gets it."""
    return desk.study(desk.images[number])["images"][0]


def test_the_worklist_is_ordered_filtered_and_cut(desk: Desk) -> None:
    found = desk.client.get("/api/worklist?show=all&limit=4").json()
    assert (found["all"], found["shown"], len(found["rows"])) == (10, 10, 4)
    scores = [row["uncertainty"] for row in found["rows"] if row["uncertainty"] is not None]
    assert scores == sorted(scores, reverse=True)
    rest = desk.client.get("/api/worklist?show=all&offset=4&limit=100").json()["rows"]
    assert len({row["study"] for row in [*found["rows"], *rest]}) == 10
    assert [row["patient"] for row in desk.client.get("/api/worklist?show=all&find=p5").json()["rows"]] == ["P5"]
    assert [row["modality"] for row in desk.client.get("/api/worklist?show=not_asked").json()["rows"]] == ["CT"]
    assert (found["selection"], found["waiting"]) == ("everybody", 9)


def test_the_worklist_knows_whose_turn_has_come(desk: Desk) -> None:
    coins = {row.id: desk.node.store.entering().coin(row.patient) for row in desk.node.store.instances()}
    middle = sorted(coins.values())[5]
    try:
        desk.node.store.entering().set_rule(EntryRule(share=middle))
        found = desk.client.get("/api/worklist?show=turn&limit=100").json()
        due = {image for image in desk.images[:9] if coins[image] < middle}
        assert found["selection"] == "coin"
        assert {image for row in found["rows"] for image in row["images"]} <= due
        assert found["shown"] == found["waiting"]
    finally:
        desk.node.store.entering().set_rule(EntryRule())


@pytest.mark.parametrize("asked", ["order=x", "show=x", "from=x", "from=nan", "offset=-1", "limit=1e9", "offset=٣"])
def test_odd_questions_get_an_ordinary_answer(desk: Desk, asked: str) -> None:
    assert desk.client.get(f"/api/worklist?{asked}").status_code == 200


def test_a_study_comes_with_its_proposal_and_prior(desk: Desk) -> None:
    found = desk.study(desk.images[9])
    assert found["images"][0]["not_asked"].startswith("its modality is CT")
    assert [one["id"] for one in found["prior"]["images"]] == [desk.images[0]]
    image = image_of(desk, 1)
    assert set(image["proposal"]["probabilities"]) == {"nodule"}
    assert image["proposal"]["release"] == found["release"]["hash"]
    assert found["release"]["temperatures"] == {"nodule": 1.0}
    assert desk.study(desk.images[0])["prior"] is None


def test_a_kept_patient_s_proposal_never_leaves(desk: Desk) -> None:
    image = image_of(desk, 7)
    assert image["withheld"] == "held_out"
    assert image["proposal"] is None
    rows = desk.client.get("/api/worklist?show=all&find=p7").json()["rows"]
    assert [(row["hidden"], row["uncertainty"], row["urgency"]) for row in rows] == [(True, None, None)]
    assert desk.client.get(f"/api/heatmap/{desk.images[7]}/nodule").status_code == 403
    (proposal,) = desk.node.store.proposals_of(desk.images[7])
    refused = desk.say(desk.action(desk.images[7], proposal=proposal.id))
    assert refused.status_code == 422
    assert desk.node.store.history(desk.images[7]) == []


def test_a_first_read_is_without_the_proposal_until_something_is_said(desk: Desk) -> None:
    image = desk.images[6]
    assert desk.study(image, first=True)["images"][0]["withheld"] == "first"
    assert desk.say(desk.action(image)).status_code == 200
    shown = desk.study(image, first=True)["images"][0]
    assert shown["withheld"] == ""
    assert shown["proposal"] is not None
    assert desk.node.store.history(image)[0].proposal is None


def test_an_action_is_stored_as_the_reader_s_annotation(desk: Desk) -> None:
    image = image_of(desk, 1)
    proposal = image["proposal"]["id"]
    box = [2.0, 3.0, 12.5, 20.0]
    action = desk.action(
        image["id"], proposal=proposal, regions=[{"finding": "nodule", "box": box}], comment=" apex ", actions=3
    )
    answer = desk.say(action).json()
    (kept,) = desk.node.store.history(image["id"])
    assert (kept.id, kept.reader, kept.proposal, kept.actions) == (action["id"], "anna", proposal, 3)
    assert dict(kept.states) == {"nodule": "present"}
    assert (kept.regions[0].origin, kept.comment) == ("drawn", "apex")
    assert answer["said"][0]["regions"][0]["box"] == box
    assert image_of(desk, 1)["lines"]["0"]["last"] == action["id"]
    rows = desk.client.get("/api/worklist?show=read").json()["rows"]
    assert [image["id"]] in [row["images"] for row in rows]


def test_sending_again_changes_nothing(desk: Desk) -> None:
    action = desk.action(desk.images[2])
    first, again = desk.say(action), desk.say(action)
    assert (first.status_code, again.status_code) == (200, 200)
    assert len(desk.node.store.history(desk.images[2])) == 1
    other = desk.say({**action, "states": {"nodule": "absent"}})
    assert other.status_code == 409
    assert len(desk.node.store.history(desk.images[2])) == 1


def test_undo_and_redo_restate(desk: Desk) -> None:
    image = desk.images[3]
    one, two = desk.action(image), desk.action(image, states={"nodule": "absent"})
    desk.say(one)
    desk.say({**two, "base": one["id"]})
    undo = desk.action(image, states={}, restates=one["id"], base=two["id"])
    assert desk.say(undo).json()["at"] == 1
    back = desk.action(image, states={}, restates="", base=undo["id"])
    answer = desk.say(back).json()
    assert (answer["at"], len(answer["said"]), answer["last"]) == (0, 2, back["id"])
    redo = desk.action(image, states={}, restates=two["id"], base=back["id"])
    assert desk.say(redo).json()["at"] == 2
    assert dict(desk.node.store.history(image)[-1].states) == {"nodule": "absent"}
    gone = desk.say(desk.action(image, states={}, restates=new_id()))
    assert gone.status_code == 422


def test_two_windows_lose_nothing_and_the_later_one_hears_of_the_other(desk: Desk) -> None:
    image = desk.images[4]
    here, there = desk.action(image), desk.action(image, states={"nodule": "absent"})
    assert desk.say(here).json()["meanwhile"] is None
    answer = desk.say(there).json()
    assert answer["meanwhile"]["id"] == here["id"]
    history = desk.node.store.history(image)
    assert [one.id for one in history] == [here["id"], there["id"]]
    assert history[1].supersedes == here["id"]
    assert dict(desk.node.store.current_annotations()[image, 0].states) == {"nodule": "absent"}


def test_two_readers_do_not_touch_each_other(desk: Desk) -> None:
    image = desk.images[5]
    other = ReadingRoom(desk.node.store, desk.node.releases, "bert")
    desk.say(desk.action(image))
    other.say(Action.model_validate(desk.action(image, states={"nodule": "absent"})))
    assert [(one.reader, one.supersedes) for one in desk.node.store.history(image)] == [("anna", None), ("bert", None)]
    shown = image_of(desk, 5)
    said = shown["lines"]["0"]["said"]
    assert (shown["others"], len(said), said[0]["states"]) == (1, 1, {"nodule": "present"})
    found = desk.client.get("/api/worklist?order=disagreement&show=all").json()
    assert (found["rows"][0]["images"], found["rows"][0]["disagreement"]) == ([image], 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x"},
        {"instance": "f" * 31 + "G"},
        {"states": {"nodule": "maybe"}},
        {"states": {"unknown": "present"}},
        {"states": {"<script>": "present"}},
        {"regions": [{"finding": "nodule", "box": [5, 5, 5, 9]}]},
        {"regions": [{"finding": "nodule", "box": [0, 0, 1e9, 9]}]},
        {"regions": [{"finding": "nodule", "box": [0, 0, 4]}]},
        {"regions": [{"finding": "nodule", "ref": "x:0"}]},
        {"regions": [{"finding": "other", "box": [0, 0, 4, 4]}]},
        {"regions": [{"finding": "nodule", "box": [0, 0, 4, 4]}], "states": {"nodule": "absent"}},
        {"proposal": "0" * 32},
        {"frame": 7},
        {"frame": -1},
        {"comment": "x" * 2001},
        {"seconds": -1},
        {"seconds": "1"},
        {"extra": 1},
        {"restates": "x"},
    ],
    ids=lambda changes: "-".join(f"{key}" for key in changes),
)
def test_what_is_no_action_is_refused_in_one_line(desk: Desk, changes: dict[str, Any]) -> None:
    image = desk.images[8]
    before = len(desk.node.store.history(image))
    answer = desk.say(desk.action(image, **changes))
    assert answer.status_code in (404, 422)
    assert answer.json()["error"]
    assert "Traceback" not in answer.text
    assert len(desk.node.store.history(image)) == before


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b" " * (2 << 20)])
def test_bytes_that_are_no_action_are_refused(desk: Desk, body: bytes) -> None:
    answer = desk.client.post("/api/say", content=body, headers={"x-medquorum-csrf": desk.word})
    assert answer.status_code == 422


def test_markup_stays_text(desk: Desk) -> None:
    evil = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
    desk.say(desk.action(desk.images[8], comment=evil))
    answer = desk.client.get(f"/api/study/{desk.study(desk.images[8])['study']}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["images"][0]["lines"]["0"]["said"][-1]["comment"] == evil


def test_what_is_not_there_is_said(desk: Desk) -> None:
    for path in ("study/nothing", "image/nothing/0", f"image/{desk.images[0]}/5", f"heatmap/{desk.images[0]}/other"):
        assert desk.client.get(f"/api/{path}").status_code == 404, path


def test_a_full_disk_is_said_and_the_action_can_come_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreError("the disk is full; nothing of this step was stored", fix="free space on this disk")

    action = desk.action(desk.images[0])
    with monkeypatch.context() as patch:
        patch.setattr(type(desk.node.store), "annotate", full)
        answer = desk.say(action)
        assert (answer.status_code, answer.json()["full"]) == (507, True)
    assert desk.say(action).status_code == 200


def test_an_unforeseen_fault_shows_no_traceback(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(desk.room), "worklist", broken)
    answer = desk.client.get("/api/worklist")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_heatmaps_come_over_the_whole_image(desk: Desk) -> None:
    data = desk.client.get(f"/api/heatmap/{desk.images[1]}/nodule").content
    assert int.from_bytes(data[:4], "little") < len(data)


def test_releases_patients_and_images_change_under_an_open_desk(tmp_path: Any) -> None:
    with Node.create(tmp_path / "node", "A", held_out_share=0.0, simulation=RIGHTS) as node:
        room = ReadingRoom(node.store, node.releases, "anna")
        everything = Query("arrival", "all")
        assert room.worklist(everything, 0, 9)["rows"] == []
        assert room.about()["release"] is None
        images = fill(node, [new_image(1, "P1")])
        assert [row["status"] for row in room.worklist(everything, 0, 9)["rows"]] == ["not_asked"]
        node.releases.adopt(make_release(3))
        propose(node.store, node.releases.current())  # pyright: ignore[reportArgumentType]
        study = room.worklist(everything, 0, 9)["rows"][0]["study"]
        first = room.study(study, everything, False)["images"][0]["proposal"]
        node.releases.adopt(make_release(4))
        again = room.study(study, everything, False)
        assert again["release"]["hash"] != first["release"]
        assert again["images"][0]["proposal"]["earlier"]
        propose(node.store, node.releases.current())  # pyright: ignore[reportArgumentType]
        assert not room.study(study, everything, False)["images"][0]["proposal"]["earlier"]
        mask = Mask.of(np.ones((40, 32), np.bool_))
        node.store.add_proposals(
            [
                Proposal(
                    new_id(),
                    images[0],
                    0,
                    again["release"]["hash"],
                    True,
                    "",
                    (("nodule", 0.9),),
                    (Region("nodule", mask, "proposed"),),
                    utc_now(),
                )
            ]
        )
        shown = room.study(study, everything, False)["images"][0]["proposal"]["regions"][0]
        assert base64.b64decode(shown["mask"]["bits"]) == mask.bits
        fill(node, [new_image(2, "P2"), new_image(3, "P3")])
        assert room.worklist(everything, 0, 9)["all"] == 3
        p1, p2 = (node.store.find_patient("H", name) or "" for name in ("P1", "P2"))
        node.store.merge(p2, p1)
        later = room.worklist(everything, 0, 9)["rows"][1]["study"]
        assert [one["id"] for one in room.study(later, everything, False)["prior"]["images"]] == images
        node.store.set_held_out([p1], True)
        assert room.study(study, everything, False)["images"][0]["withheld"] == "held_out"
        node.store.erase(p1)
        assert room.worklist(everything, 0, 9)["all"] == 1


def test_the_desk_is_served_beside_other_work_with_the_store(desk: Desk) -> None:
    server = DeskServer(desk.node.store, desk.node.releases, desk.node.folder, "anna", 0)
    with server.beside():
        answer = httpx.get(server.address(), follow_redirects=True)
        assert answer.status_code == 200
        assert "text/html" in answer.headers["content-type"]
        with pytest.raises(NodeError, match="cannot be listened on"):
            DeskServer(desk.node.store, desk.node.releases, desk.node.folder, "anna", server.port)
        desk.node.store.verify()


def test_a_store_that_another_process_has_says_what_to_do(tmp_path: Any) -> None:
    Node.create(tmp_path / "node", "A").close()
    with Store.open(tmp_path / "node" / "store"):
        found = CliRunner().invoke(cli, ["review", "--folder", str(tmp_path / "node"), "--port", "0"])
    assert isinstance(found.exception, StoreBusyError)
    assert "node run" in found.exception.fix
    assert "--review" in found.exception.fix


def test_what_was_not_taken_in_is_listed_with_its_reason_and_what_helps(desk: Desk) -> None:
    desk.node.store.quarantine("ward/<b>torn</b>.dcm", "truncated", "the file ends inside an element", b"half")
    desk.node.store.quarantine("ward/odd.dcm", "conflict", "another file came under its UID", None)
    found = desk.client.get("/api/quarantine").json()
    assert found["all"] == 2
    assert [row["source"] for row in found["rows"]] == ["ward/odd.dcm", "ward/<b>torn</b>.dcm"]
    assert found["rows"][1]["advice"] == "ask its sender to send it again"
    assert [row.id[:12] for row in desk.node.store.quarantined()] == [row["id"] for row in reversed(found["rows"])]
