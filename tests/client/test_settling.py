"""Which label counts: each rule, what it waits for, and that training takes what is settled and nothing else."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hospitals
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from medquorum.client.agreements import Agreements
from medquorum.client.annotations import Annotation, State, new_id
from medquorum.client.commands import node as commands
from medquorum.client.entering import UnreadError
from medquorum.client.errors import AnnotationError
from medquorum.client.settling import LabelRule, Settled, Unsettled, settle

AT = datetime(2026, 2, 1, tzinfo=UTC)
TWO = LabelRule("two", ("chief",))


def said(reader: str, state: State, after: int = 0, instance: str = "i", **more: Any) -> Annotation:
    at = AT + timedelta(minutes=after)
    plain = Annotation(new_id(), instance, 0, reader, at, None, None, (("nodule", state),), (), 1, 1.0, None)
    return replace(plain, **more)


def told(readings: list[tuple[str, State]]) -> list[Annotation]:
    return [said(reader, state, number) for number, (reader, state) in enumerate(readings)]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([], "unread"),
        ([("ann", "not_assessed")], "unread"),
        ([("ann", "present")], "waiting"),
        ([("ann", "present"), ("ann", "present")], "waiting"),  # one reader twice is one reader
        ([("ann", "present"), ("bob", "present")], ("agreed", "bob")),
        ([("ann", "present"), ("bob", "absent")], "disputed"),
        ([("ann", "present"), ("bob", "absent"), ("ann", "absent")], ("agreed", "ann")),  # she changed her mind
        ([("ann", "present"), ("bob", "absent"), ("eve", "absent")], ("agreed", "eve")),
        ([("ann", "present"), ("bob", "absent"), ("eve", "uncertain")], "disputed"),
        ([("ann", "present"), ("bob", "absent"), ("chief", "uncertain")], ("adjudicated", "chief")),
        ([("ann", "present"), ("bob", "present"), ("chief", "absent")], ("agreed", "bob")),  # nothing was disputed
        ([("chief", "present"), ("ann", "absent")], "disputed"),  # a lead who read first is a reader like others
        ([("chief", "present"), ("ann", "absent"), ("bob", "absent")], ("agreed", "bob")),
    ],
)
def test_two_readers_or_a_lead_after_them(readings: list[tuple[str, State]], expected: str | tuple[str, str]) -> None:
    found = settle(told(readings), TWO)
    if isinstance(found, Settled):
        assert (found.how, found.annotation.reader) == expected and found.annotation in found.basis
    else:
        assert found == Unsettled(expected)  # pyright: ignore[reportArgumentType]


def test_any_takes_the_newest_and_lead_takes_leads_alone() -> None:
    read = told([("ann", "present"), ("chief", "absent"), ("bob", "present")])
    assert settle(read, LabelRule()) == Settled(read[2], "newest", (read[2],))
    assert settle(read, LabelRule("lead", ("chief",))) == Settled(read[1], "lead", (read[1],))
    assert settle(read[:1], LabelRule("lead", ("chief",))) == Unsettled("waiting")


def test_a_lead_by_role_settles_as_one_by_the_rule() -> None:
    ann, bob = told([("ann", "present"), ("bob", "absent")])
    eve = said("eve", "uncertain", 2, as_lead=True)
    assert settle([ann, bob, eve], LabelRule("two")) == Settled(eve, "adjudicated", (ann, bob, eve))
    assert settle([eve, ann, bob], LabelRule("two")) == Unsettled("disputed")  # who read first has not seen them differ
    assert settle([ann, eve], LabelRule("lead", ("chief",))) == Settled(eve, "lead", (eve,))


def test_a_lead_who_was_one_of_two_settles_by_weighing_and_not_by_reading() -> None:
    ann, before = said("ann", "present"), said("chief", "absent", 1)
    again = said("chief", "absent", 2, supersedes=before.id)
    assert settle([ann, again], TWO) == Unsettled("disputed")
    weighing = said("chief", "absent", 2, supersedes=before.id, weighed=(ann.id, before.id))
    found = settle([ann, weighing], TWO)
    assert found == Settled(weighing, "adjudicated", (ann, weighing))
    assert isinstance(found, Settled) and found.rests_on == (ann.id, before.id, weighing.id)
    # What is read after them was not weighed.
    assert settle([weighing, said("ann", "uncertain", 3)], TWO) == Unsettled("disputed")
    assert settle([ann, replace(weighing, reader="bob")], TWO) == Unsettled("disputed")  # no lead


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["present", "absent", "uncertain"])), max_size=7),
    st.sampled_from([LabelRule(), TWO, LabelRule("two", ("a",)), LabelRule("lead", ("a",))]),
)
def test_what_is_settled_is_the_standing_word_of_who_it_names(readings: list, rule: LabelRule) -> None:
    read = told(readings)
    found = settle(read, rule)
    if isinstance(found, Settled):
        newest = {one.reader: one for one in read}
        assert all(newest[one.reader] is one for one in found.basis)
        if found.how == "agreed":
            assert len({one.reader for one in found.basis}) >= 2
            assert len({one.states for one in found.basis}) == 1
        if found.how in ("lead", "adjudicated"):
            assert found.annotation.reader in rule.leads


def test_rules_that_settle_nothing_are_refused() -> None:
    with pytest.raises(AnnotationError, match="without a lead"):
        LabelRule("lead")
    with pytest.raises(AnnotationError, match="a label rule 'most'"):
        LabelRule("most")  # pyright: ignore[reportArgumentType]


def test_settled_labels_and_only_they_enter_training_with_their_provenance(tmp_path: Path) -> None:
    """Eight patients of tests/hospitals.py, each read by one reader already."""
    folder = tmp_path / "node"
    plan = hospitals.make_plan(hospitals.make_release(), {"a": 4, "b": 4, "c": 4})
    with hospitals.make_node(folder, "a", patients=8, held_out=0, images=1) as node:
        node.store.labels().set_rule(TWO)
        rows = node.store.instances()
        first = [dict(node.store.history(row.id)[0].states)["nodule"] for row in rows]
        other: dict[State, State] = {"present": "absent", "absent": "present"}
        for number, (row, state) in enumerate(zip(rows, first, strict=True)):
            if number < 3:
                node.store.annotate(said("second", state, 1, row.id))
            elif number < 6:
                node.store.annotate(said("second", other[state], 1, row.id))
            if number in (3, 4):
                node.store.annotate(said("chief", "uncertain" if number == 4 else state, 2, row.id))
        with pytest.raises(UnreadError, match="3 of 8 patients"):
            node.store.freeze(plan.hash, AT)
        for row in rows[5:]:  # of these their readers make nothing after all
            for one in node.store.history(row.id):
                node.store.annotate(said(one.reader, "not_assessed", 3, row.id, supersedes=one.id))
        records = node.store.freeze(plan.hash, AT)
        assert [one.instance for one in records] == [row.id for row in rows[:5]]
        counted = node.store.annotations([one.annotation for one in records])
        assert [one.reader for one in counted.values()] == ["second"] * 3 + ["chief"] * 2
        rests = node.store.labels().provenance(plan.hash)
        assert [one.how for one in rests] == ["agreed"] * 3 + ["adjudicated"] * 2
        assert [len(one.basis) for one in rests] == [2, 2, 2, 3, 3]
        # What is read or ruled later changes nothing of it; an erased patient is gone from it.
        node.store.labels().set_rule(LabelRule())
        node.store.annotate(said("late", "present", 9, rows[0].id))
        assert node.store.labels().provenance(plan.hash) == rests
        node.store.erase(rows[1].patient)
        assert [one.record.instance for one in node.store.labels().provenance(plan.hash)] == [
            row.id for row in itertools.compress(rows[:5], (1, 0, 1, 1, 1))
        ]
        node.store.verify()
    agreements = Agreements(folder / "agreements.sqlite")
    agreements.countersign(plan, 50.0)
    agreements.close()
    found = CliRunner().invoke(commands, ["provenance", "tiny", "--folder", str(folder), "--json"])
    records = json.loads(found.stdout)["records"]
    assert [one["label"] for one in records] == ["agreed", "agreed", "adjudicated", "adjudicated"]
    assert {reading["reader"] for reading in records[-1]["readings"]} == {"reader", "second", "chief"}
    plain = CliRunner().invoke(commands, ["provenance", "tiny", "--folder", str(folder)]).stdout
    assert "training: 2 records, label adjudicated" in plain


def test_what_a_lead_by_role_settles_enters_training_with_every_reading_it_weighed(tmp_path: Path) -> None:
    """The lead read one image first and settles it herself; another's two readers she did not belong to."""
    plan = hospitals.make_plan(hospitals.make_release(), {"a": 4, "b": 4, "c": 4})
    with hospitals.make_node(tmp_path / "node", "a", patients=3, held_out=1, images=1) as node:
        node.store.labels().set_rule(LabelRule("two"))
        rows = node.store.instances()
        first = [node.store.history(row.id)[0] for row in rows]
        other: dict[State, State] = {"present": "absent", "absent": "present"}
        apart = [other[dict(one.states)["nodule"]] for one in first]
        own = said("eve", apart[0], 1, rows[0].id, as_lead=True)
        second = [said("second", apart[number], 1, rows[number].id) for number in (1, 2, 3)]
        node.store.annotate_many([own, *second])
        with pytest.raises(UnreadError, match="4 of 4 patients"):
            node.store.freeze(plan.hash, AT)
        weighed = (first[0].id, own.id)
        mine = said("eve", apart[0], 2, rows[0].id, as_lead=True, weighed=weighed, supersedes=own.id)
        theirs = said("eve", "uncertain", 2, rows[1].id, as_lead=True, weighed=(first[1].id, second[0].id))
        hidden = said("eve", "absent", 2, rows[3].id, as_lead=True, weighed=(first[3].id, second[2].id))
        aside = [said(one.reader, "not_assessed", 3, rows[2].id, supersedes=one.id) for one in (first[2], second[1])]
        node.store.annotate_many([mine, theirs, hidden, *aside])
        assert node.store.annotations([mine.id])[mine.id] == mine
        records = node.store.freeze(plan.hash, AT)
        assert [one.annotation for one in records] == [mine.id, theirs.id]
        rests = {one.record.instance: one for one in node.store.labels().provenance(plan.hash)}
        assert {one.how for one in rests.values()} == {"adjudicated"}
        assert rests[rows[0].id].basis == (*weighed, mine.id)
        assert rests[rows[1].id].basis == (first[1].id, second[0].id, theirs.id)
        assert rests[rows[3].id].record.held_out and rests[rows[3].id].basis[-1] == hidden.id
        node.store.verify()


def test_the_rule_and_the_disputes_by_command(tmp_path: Path) -> None:
    folder = str(tmp_path / "node")
    with hospitals.make_node(tmp_path / "node", "a", patients=2, held_out=0, images=1) as node:
        row = node.store.instances()[0]
        node.store.annotate(said("second", "absent", 1, row.id))
    run = CliRunner().invoke
    assert "'any'" in run(commands, ["label-rule", "--folder", folder]).stdout
    assert "'two'; leads: chief" in run(commands, ["label-rule", "two", "--lead", "chief", "--folder", folder]).stdout
    listed = run(commands, ["disputes", "--folder", folder]).stdout
    assert row.source in listed and "0 frames settled, 1 wait for another reader, 1 disputed" in listed
    assert json.loads(run(commands, ["disputes", "--folder", folder, "--json"]).stdout)["disputed"][0]["frame"] == 0
    refused = run(commands, ["provenance", "nothing", "--folder", folder])
    assert refused.exception is not None and "countersigned no plan" in str(refused.exception)
