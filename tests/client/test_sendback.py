"""Frames sent back to be read again: what is stored, when it is answered, and that no label falls away."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hospitals
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from medquorum.client.annotations import Annotation, Box, Region, State, new_id
from medquorum.client.commands import node as commands
from medquorum.client.errors import AnnotationError, StoreError
from medquorum.client.sendback import SendBack, answer, outcome

AT = datetime(2026, 2, 1, tzinfo=UTC)


def said(reader: str, state: State, instance: str = "i", **more: Any) -> Annotation:
    plain = Annotation(new_id(), instance, 0, reader, AT, None, None, (("nodule", state),), (), 1, 1.0, None)
    return replace(plain, **more)


def sent(whom: str, *of: Annotation) -> SendBack:
    return SendBack(new_id(), "i", 0, "eve", whom, "suspect", AT, tuple(one.id for one in of))


def test_the_same_said_again_confirms_and_another_word_changes() -> None:
    ann, bob = said("ann", "present"), said("bob", "absent")
    asked, known = sent("ann", ann, bob), {ann.id: ann, bob.id: bob}
    assert outcome(asked, [ann, bob], known) == "open"
    assert outcome(asked, [ann, said("bob", "present")], known) == "open"  # it was not bob who was asked
    assert outcome(asked, [said("ann", "present"), bob], known) == "confirmed"
    assert outcome(asked, [said("ann", "absent"), bob], known) == "changed"
    assert outcome(asked, [said("ann", "not_assessed"), bob], known) == "open"  # undone: nothing is stated
    moved = said("ann", "present", regions=(Region("nodule", Box(0, 0, 2, 2), "drawn"),))
    assert outcome(asked, [moved, bob], known) == "changed"


def test_anybody_may_answer_what_nobody_in_particular_was_asked() -> None:
    ann = said("ann", "present")
    assert outcome(sent("", ann), [ann, said("cid", "present")], {ann.id: ann}) == "read"
    assert outcome(sent("", ann), [said("ann", "present")], {ann.id: ann}) == "confirmed"
    assert outcome(sent(""), [], {}) == "open"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["present", "absent", "not_assessed"])), max_size=8))
def test_only_what_was_said_afterwards_answers(events: list[tuple[str, State]]) -> None:
    before = [said("a", "present"), said("b", "absent")]
    standing = {one.reader: one for one in before}
    asked = sent("a", *before)
    for reader, state in events:
        standing[reader] = said(reader, state)
    found = answer(asked, standing.values())
    last = [state for reader, state in events if reader == "a"][-1:]
    assert (found is not None) == (last in (["present"], ["absent"]))
    assert found is None or (found.reader == "a" and found.id not in asked.of)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(AnnotationError, match="by nobody"):
        replace(sent("ann"), by="")
    with pytest.raises(AnnotationError, match="sent back as"):
        replace(sent("ann"), why="whim")  # pyright: ignore[reportArgumentType]


def test_it_is_kept_in_the_chain_and_no_label_falls_away(tmp_path: Path) -> None:
    with hospitals.make_node(tmp_path / "n", "a", patients=3, held_out=0, images=1) as node:
        labels, rows = node.store.labels(), node.store.instances()
        standing = labels.standings()
        first = labels.send_back(rows[0].id, 0, "eve", "reader", "suspect")
        assert labels.send_back(rows[0].id, 0, "eve", "reader", "other") == first  # still open: asked once
        anybody = labels.send_back(rows[1].id, 0, "eve", "", "other")
        assert labels.standings() == standing and len(node.store.freeze(b"1" * 32, AT)) == 3
        with pytest.raises(AnnotationError, match="has said nothing"):
            labels.send_back(rows[0].id, 0, "eve", "nobody", "other")
        with pytest.raises(StoreError):
            labels.send_back("0" * 32, 0, "eve", "", "other")
        assert labels.sent_back() == [(first, "open"), (anybody, "open")]
        old = node.store.history(rows[0].id)[0]
        node.store.annotate(replace(old, id=new_id(), supersedes=old.id))
        node.store.annotate(said("cid", "present", rows[1].id))
        assert [how for _, how in labels.sent_back()] == ["confirmed", "read"]
        again = labels.send_back(rows[0].id, 0, "eve", "reader", "disagreement")
        assert again.id != first.id and len(again.of) == 1
        node.store.verify()
        assert node.store.desk().changes(0).sent == (first, anybody, again)
        node.store.erase(rows[0].patient)
        assert labels.sent_back() == [(anybody, "read")]
        node.store.verify()


def test_by_command(tmp_path: Path) -> None:
    folder = str(tmp_path / "n")
    with hospitals.make_node(tmp_path / "n", "a", patients=2, held_out=0, images=1) as node:
        image = node.store.instances()[0].id
    run = CliRunner().invoke
    assert "Nothing has been sent back" in run(commands, ["send-back", "--folder", folder]).stdout
    asked = ["send-back", image, "--to", "reader", "--why", "suspect", "--folder", folder]
    assert "reader is asked to look again" in run(commands, asked).stdout
    listed = run(commands, ["send-back", "--folder", folder, "--json"])
    (one,) = json.loads(listed.stdout)["sent_back"]
    assert (one["instance"], one["whom"], one["why"], one["outcome"]) == (image, "reader", "suspect", "open")
    assert "open" in run(commands, ["send-back", "--folder", folder]).stdout
    assert "use one of" in str(run(commands, [*asked[:4], "--why", "whim", "--folder", folder]).exception)
