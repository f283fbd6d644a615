"""Two readers and a lead: disagreements settled, images sent back, and what nobody learns of another's reading."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hospitals import RIGHTS, make_release
from starlette.testclient import TestClient

from medquorum.client.accounts.roles import Role
from medquorum.client.annotations import new_id
from medquorum.client.desk.app import desk_app
from medquorum.client.desk.faults import HiddenError, UnknownError
from medquorum.client.desk.lead import Doubt, differing
from medquorum.client.desk.printed import PrintedDoor
from medquorum.client.desk.rooms import Rooms
from medquorum.client.desk.saying import parsed
from medquorum.client.desk.sessions import Sessions
from medquorum.client.desk.worklist import Filter, Order, Query
from medquorum.client.errors import AnnotationError, StoreError
from medquorum.client.node import Node
from medquorum.client.settling import LabelRule, Settled

from .conftest import HOST, fill, new_image

STUDIES, HIDDEN = 8, 6


@dataclass
class Ward:
    """A node under the rule "two", with eight studies; eve is a lead by the rule."""

    node: Node
    rooms: Rooms
    images: list[str]
    folder: Path

    def say(self, reader: str, number: int, state: str, role: Role = "reader", **more: Any) -> dict[str, Any]:
        """Let a reader state the nodule of a study."""
        room = self.rooms.of(reader, role)
        room.sync()
        last = room._index.line(self.images[number]).last
        plain = {"id": new_id(), "instance": self.images[number], "frame": 0, "states": {"nodule": state}}
        base = None if last is None else last.id
        action = {**plain, "base": base, "actions": 2, "seconds": 3.0, **more}
        return room.say(parsed(json.dumps(action).encode()))

    def rows(self, reader: str, show: Filter = "all", order: Order = "arrival") -> list[dict[str, Any]]:
        """What a reader's worklist shows."""
        return self.rooms.of(reader, "reader").worklist(Query(order, show), 0, 99)["rows"]

    def shown(self, reader: str, show: Filter, order: Order = "arrival") -> list[int]:
        """The numbers of the studies that it shows."""
        return [self.images.index(row["images"][0]) for row in self.rows(reader, show, order)]

    def study(self, number: int) -> str:
        """The study of an image."""
        return self.rooms.of("anna", "reader").study_of(self.images[number])

    def browser(self, reader: str) -> tuple[TestClient, dict[str, str]]:
        """A reader's browser that has come in, and the headers of its changes."""
        sessions = Sessions(self.folder / f"{reader}.sessions", reader)
        app = desk_app(self.rooms, PrintedDoor(sessions, reader), [HOST])
        client = TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False)
        client.get(f"/enter?token={sessions.token()}")
        return client, {"x-medquorum-csrf": client.get("/api/about").json()["csrf"]}


@pytest.fixture
def ward(tmp_path: Path) -> Generator[Ward, None, None]:
    """Nobody has read anything yet; the patient of one study is kept for evaluation."""
    with Node.create(tmp_path / "node", "A", held_out_share=0.0, simulation=RIGHTS) as node:
        node.releases.adopt(make_release())
        images = fill(node, [new_image(number, f"P{number}") for number in range(STUDIES)], hidden=(f"P{HIDDEN}",))
        node.store.labels().set_rule(LabelRule("two", ("eve",)))
        yield Ward(node, Rooms(node.store, node.releases), images, tmp_path)


def test_who_has_not_read_learns_nothing_from_the_list_of_what_others_said(ward: Ward) -> None:
    def seen() -> list[dict[str, Any]]:
        rows = [row for order in ("disagreement", "uncertainty", "urgency") for row in ward.rows("anna", "all", order)]
        return [{key: value for key, value in row.items() if key != "second"} for row in rows]

    before = seen()
    for number in range(4):
        ward.say("bert", number, "present" if number % 2 else "absent")
    for number in range(3):
        ward.say("cora", number, "present")
    assert seen() == before
    assert {row["disagreement"] for row in ward.rows("anna")} == {None}
    ward.say("anna", 0, "present")  # hers, bert's and cora's: present, absent, present
    assert ward.rows("anna", "all", "disagreement")[0]["disagreement"] == 1.0
    assert [row["disagreement"] for row in ward.rows("anna")][1:] == [None] * (STUDIES - 1)
    ward.say("anna", 1, "not_assessed")  # setting aside opens nothing
    assert ward.rows("anna")[1]["disagreement"] is None


def test_a_second_reader_finds_what_waits_for_one_and_not_what_was_said(ward: Ward) -> None:
    ward.say("bert", 0, "present")
    ward.say("bert", 1, "absent")
    ward.say("bert", 2, "present")
    ward.say("cora", 2, "absent")
    assert ward.shown("anna", "second") == [0, 1]  # two have read the third: whether they agree is not told
    assert ward.shown("cora", "second") == [0, 1]
    assert ward.shown("bert", "second") == []
    said = ward.rooms.of("anna", "reader").study(ward.study(0), Query(), False)["images"][0]
    assert said["others"] == 1
    assert "bert" not in str(said) and "disputes" not in said
    ward.say("anna", 0, "absent")
    assert ward.shown("anna", "second") == [1]
    ward.node.store.labels().set_rule(LabelRule("any"))
    assert ward.shown("anna", "second") == []


def test_disagreements_are_listed_for_leads_and_settled_by_them(ward: Ward) -> None:
    box = {"finding": "nodule", "box": [1.0, 2.0, 9.0, 8.0]}
    for number in (0, 1, HIDDEN):
        ward.say("anna", number, "present", regions=[box], comment="upper lobe")
        ward.say("bert", number, "absent")
    ward.say("bert", 2, "absent")
    eve = ward.rooms.of("eve", "reader").lead()
    listed = eve.disputes("disputed")
    assert [row["study"] for row in listed["rows"]] == [ward.study(number) for number in (0, 1, HIDDEN)]
    assert [(row["readers"], row["differ"]) for row in listed["rows"]] == [(2, ["nodule"])] * 3
    assert "anna" not in str(listed) and "present" not in str(listed)

    found = eve.adjudication(ward.study(0), "disputed", names=False, revealed=False)
    image = found["images"][0]
    dispute = image["disputes"]["0"]
    assert (image["withheld"], image["proposal"], found["after"]) == ("adjudication", None, ward.study(1))
    assert "anna" not in str(dispute) and {one["name"] for one in dispute["readings"]} == {""}
    named = eve.adjudication(ward.study(0), "disputed", names=True, revealed=True)["images"][0]
    assert sorted(one["name"] for one in named["disputes"]["0"]["readings"]) == ["anna", "bert"]
    assert named["proposal"] is not None
    hidden = eve.adjudication(ward.study(HIDDEN), "disputed", names=False, revealed=True)["images"][0]
    assert (hidden["withheld"], hidden["proposal"]) == ("held_out", None)

    # One reading is taken over with its region; of another image the lead says something of her own.
    taken = next(one for one in dispute["readings"] if one["states"] == {"nodule": "present"})
    weighs = [one["id"] for one in dispute["readings"]]
    refs = [{"finding": "nodule", "ref": taken["regions"][0]["ref"]}]
    ward.say("eve", 0, "present", regions=refs, weighs=weighs)
    other = eve.adjudication(ward.study(1), "disputed", names=False, revealed=False)["images"][0]["disputes"]["0"]
    ward.say("eve", 1, "uncertain", weighs=[one["id"] for one in other["readings"]])
    standings = ward.node.store.labels().standings()
    first, second = standings[ward.images[0], 0], standings[ward.images[1], 0]
    assert isinstance(first, Settled) and (first.how, first.annotation.reader) == ("adjudicated", "eve")
    assert first.annotation.regions[0].shape == ward.node.store.history(ward.images[0])[0].regions[0].shape
    assert isinstance(second, Settled) and set(second.rests_on) > {one["id"] for one in other["readings"]}
    assert [row["study"] for row in eve.disputes("disputed")["rows"]] == [ward.study(HIDDEN)]
    assert len(eve.disputes("adjudicated")["rows"]) == 2
    # Undo opens it again, redo settles it once more.
    line = ward.rooms.of("eve", "reader")._index.line(ward.images[1])
    ward.say("eve", 1, "present", states={}, restates=line.undo)
    assert len(eve.disputes("disputed")["rows"]) == 2
    ward.say("eve", 1, "present", states={}, restates=ward.rooms.of("eve", "reader")._index.line(ward.images[1]).redo)
    assert len(eve.disputes("disputed")["rows"]) == 1


def test_a_lead_who_was_one_of_the_two_settles_what_she_is_part_of(ward: Ward) -> None:
    ward.say("eve", 0, "present")
    ward.say("bert", 0, "absent")
    lead = ward.rooms.of("eve", "reader").lead()
    (row,) = lead.disputes("disputed")["rows"]
    shown = lead.adjudication(row["study"], "disputed", False, False)["images"][0]["disputes"]["0"]["readings"]
    assert len(shown) == 2
    ward.say("eve", 0, "present", weighs=[one["id"] for one in shown])
    assert lead.disputes("disputed")["rows"] == []
    again = lead.adjudication(row["study"], "adjudicated", False, False)["images"][0]["disputes"]["0"]
    assert [one["states"] for one in again["readings"]] == [one["states"] for one in shown]  # still the two blind ones


def test_a_lead_by_role_settles_and_a_reader_does_not(ward: Ward) -> None:
    ward.say("anna", 3, "present")
    ward.say("bert", 3, "absent")
    weighs = [one.id for one in ward.node.store.history(ward.images[3])]
    with pytest.raises(HiddenError, match="for lead readers"):
        ward.rooms.of("cora", "reader").lead()
    with pytest.raises(HiddenError):
        ward.say("cora", 3, "present", weighs=weighs)
    with pytest.raises(AnnotationError, match="not one of this image"):
        ward.say("dora", 3, "present", "lead", weighs=[new_id()])
    assert len(ward.node.store.history(ward.images[3])) == 2
    ward.say("dora", 3, "present", "lead", weighs=weighs)
    said = ward.node.store.history(ward.images[3])[-1]
    assert (said.as_lead, said.weighed) == (True, tuple(weighs))
    assert [one.as_lead for one in ward.node.store.history(ward.images[3])] == [False, False, True]
    assert ward.rooms.of("dora", "lead").lead().disputes("disputed")["rows"] == []
    # What was said while she weighed did not lie before her, and she is told.
    ward.say("bert", 3, "uncertain")
    answer = ward.say("dora", 3, "absent", "lead", weighs=weighs)
    assert answer["unweighed"] is True and len(ward.node.store.history(ward.images[3])) == 5
    newest = [one.id for one in ward.node.store.history(ward.images[3]) if one.reader in ("anna", "bert")]
    assert ward.say("dora", 3, "absent", "lead", weighs=newest)["unweighed"] is False


def test_what_is_sent_back_is_looked_at_again_without_saying_why(ward: Ward) -> None:
    for number in (0, 1, 2):
        ward.say("anna", number, "present")
    lead = ward.rooms.of("eve", "reader").lead()
    lead.send_back(Doubt(instance=ward.images[0], whom="anna", why="suspect"))
    lead.send_back(Doubt(study=ward.study(1)))
    lead.send_back(Doubt(instance=ward.images[0], whom="anna", why="other"))
    assert (ward.shown("anna", "again"), ward.shown("bert", "again")) == ([0, 1], [1])
    assert set(ward.shown("anna", "open")) == {0, 1, 3, 4, 5, HIDDEN, 7}
    assert ward.node.store.labels().standings().keys() == {(ward.images[number], 0) for number in (0, 1, 2)}
    room = ward.rooms.of("anna", "reader")
    image = room.study(ward.study(0), Query(), False)["images"][0]
    assert (image["again"], image["withheld"], image["proposal"]) == ([0], "again", None)
    assert "suspect" not in str(image) and "eve" not in str(image)
    assert room.study(ward.study(0), Query(), False, True)["images"][0]["proposal"] is not None
    said = ward.node.store.history(ward.images[0])[-1]
    ward.say("anna", 0, "present", states={}, restates=said.id)  # confirmed by saying it once more
    ward.say("bert", 1, "absent")
    assert ward.shown("anna", "again") == ward.shown("bert", "again") == []
    found = lead.sent_back()
    assert [(row["outcome"], row["whom"], row["patient"]) for row in found["rows"]] == [
        ("read", "", "P1"),
        ("confirmed", "anna", "P0"),
    ]
    assert (found["all"], found["open"]) == (2, 0)
    with pytest.raises(UnknownError):
        lead.send_back(Doubt(instance=new_id()))


def test_the_lead_s_questions_over_http_and_what_others_hear(ward: Ward) -> None:
    ward.say("anna", 0, "present")
    ward.say("bert", 0, "absent")
    anna, word = ward.browser("anna")
    eve, own = ward.browser("eve")
    study = ward.study(0)
    for path in ("disputes", f"adjudication/{study}", "send-back"):
        refused = anna.get(f"/api/{path}")
        assert refused.status_code == 403 and "label-rule --lead" in refused.json()["fix"]
        assert eve.get(f"/api/{path}").status_code == 200
    doubt = {"instance": ward.images[0], "whom": "anna", "why": "disagreement"}
    assert anna.post("/api/send-back", json=doubt, headers=word).status_code == 403
    assert eve.post("/api/send-back", json=doubt).status_code == 403  # without the page's own word
    assert eve.post("/api/send-back", json=doubt, headers=own).json()["sent"][0]["patient"] == "P0"
    assert (anna.get("/api/about").json()["lead"], eve.get("/api/about").json()["lead"]) == (False, True)
    assert [row["again"] for row in anna.get("/api/worklist?show=again").json()["rows"]] == [True]
    assert eve.get("/api/adjudication/nothing").status_code == 404
    for odd in (b"", b"[]", b'{"why": "x"}', b"{}", b'{"instance": 5}', b"\xff", b" " * 50_000):
        assert eve.post("/api/send-back", content=odd, headers=own).status_code == 422
    names = eve.get(f"/api/adjudication/{study}?names=1").json()["images"][0]["disputes"]["0"]["readings"]
    assert {one["name"] for one in names} == {"anna", "bert"}
    assert anna.get("/adjudication").status_code == 200  # the page itself holds nothing


def test_quality_is_computed_beside_the_page_and_names_what_it_lacks(ward: Ward) -> None:
    anna, word = ward.browser("anna")
    eve, own = ward.browser("eve")
    assert anna.get("/api/quality").status_code == anna.post("/api/quality", headers=word).status_code == 403
    assert eve.post("/api/quality").status_code == 403
    first = eve.get("/api/quality").json()
    assert first["running"] or first["report"] is not None  # the first to ask begins it
    measuring = ward.rooms.of("eve", "reader")._shared.measuring
    measuring.wait()
    report = eve.get("/api/quality").json()["report"]
    assert (report["frames"], report["lacks"][:2]) == (0, ["readings", "second_reader"])
    for number in range(STUDIES):
        ward.say("anna", number, "present" if number % 2 else "absent")
        ward.say("bert", number, "present" if number % 3 else "absent")
    assert eve.get("/api/quality").json()["report"] == report  # kept until it is asked for anew
    assert eve.post("/api/quality", headers=own).json()["running"]
    measuring.wait()
    report = eve.get("/api/quality").json()["report"]
    assert (report["frames"], len(report["readers"]), report["findings"][0]["twice"]) == (STUDIES, 2, STUDIES)
    assert "hidden_readings" not in report["lacks"] or report["hidden"]["read"] == 0
    assert all({"study", "patient", "sent", "margin"} <= one.keys() for one in report["suspects"])


def test_a_computation_that_fails_says_why_and_can_be_begun_again(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreError("the disk is gone")

    room = ward.rooms.of("eve", "reader")
    with monkeypatch.context() as patch:
        patch.setattr("medquorum.client.desk.measuring.quality_report", broken)
        room.lead().quality()
        room._shared.measuring.wait()
        assert "the disk is gone" in room.lead().quality()["fault"]
        assert not room.lead().quality()["running"]  # nobody asked for another attempt
    room.lead().quality(anew=True)
    room._shared.measuring.wait()
    assert room.lead().quality()["fault"] == "" and room.lead().quality()["report"] is not None


def test_what_readers_say_differently_is_named_whoever_leaves_a_finding_out(ward: Ward) -> None:
    ward.say("anna", 4, "present")
    ward.say("bert", 4, "present")
    read = {one.reader: one for one in ward.node.store.history(ward.images[4])}
    assert differing(read) == []
    ward.say("bert", 4, "not_assessed")
    read["bert"] = ward.node.store.history(ward.images[4])[-1]
    assert differing(read) == ["nodule"]
