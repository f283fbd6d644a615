"""Who takes part in plans: coins and days, that one patient moves nobody else, and that plans wait for the unread."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import hospitals
import pytest
from coordinating import TRUST, invite
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from medquorum.client.annotations import Annotation, State, new_id
from medquorum.client.commands import node as commands
from medquorum.client.entering import EntryRule, UnreadError, finished
from medquorum.client.errors import AnnotationError
from medquorum.client.node import Node
from medquorum.client.operations.doctor import examine
from medquorum.client.settling import LabelRule, Settled, settle
from medquorum.client.store import FrozenRecord, Store

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def said(reader: str, state: State, instance: str = "i", restates: str | None = None) -> Annotation:
    return Annotation(
        new_id(), instance, 0, reader, AT, None, None, (("nodule", state),), (), 1, 1.0, None, restates=restates
    )


@given(
    st.floats(0.01, 1.0), st.integers(1, 40), st.integers(1, 500), st.integers(0, 400), st.integers(0, 400),
    st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 9),
)  # fmt: skip
def test_a_turn_that_has_come_stays(
    share: float, a_day: int, declared: int, one: int, more: int, coin: float, wait: int
) -> None:
    rule = EntryRule(share, a_day, declared, "2026-01-01", wait)
    assert EntryRule.decoded(rule.encoded()) == rule
    first = date(2026, 1, 1)
    arrived = datetime(2025, 12, 1, tzinfo=UTC)
    before, after = (rule.turn(first + timedelta(days=days)) for days in (one, one + more))
    assert 0.0 < before.chance <= after.chance <= share
    assert not before.has_come(coin, arrived) or after.has_come(coin, arrived)
    assert rule.turn(first + timedelta(days=declared)).chance == share
    assert rule.turn(first - timedelta(days=1)).chance == 0.0


def test_what_has_just_arrived_may_be_left_out() -> None:
    turn = EntryRule(wait_days=2).turn(AT.date())
    assert turn.has_come(0.999, datetime(2026, 2, 27, 23, 59, tzinfo=UTC))
    assert not turn.has_come(0.0, datetime(2026, 2, 28, tzinfo=UTC))
    assert EntryRule().turn(AT.date()).has_come(1.0 - 2.0**-53, AT)


@pytest.mark.parametrize(
    "fields", [{"share": 0.0}, {"share": 1.1}, {"a_day": 3}, {"declared": 9}, {"wait_days": -1}], ids=str
)
def test_rules_that_make_no_sense_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(AnnotationError):
        EntryRule(**fields)  # pyright: ignore[reportArgumentType] # what is tested


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["present", "absent", "not_assessed"])), max_size=5),
    st.sampled_from([LabelRule(), LabelRule("two", ("a",)), LabelRule("lead", ("a",))]),
)
def test_readers_are_through_when_a_label_counts_or_all_set_it_aside(
    told: list[tuple[str, State]], rule: LabelRule
) -> None:
    readings = [said(*one) for one in told]
    newest = dict(told)
    aside = bool(told) and set(newest.values()) == {"not_assessed"}
    assert finished(readings, rule) == (isinstance(settle(readings, rule), Settled) or aside)


def test_taking_everything_back_is_not_setting_aside() -> None:
    assert finished([said("a", "not_assessed")], LabelRule())
    assert not finished([said("a", "not_assessed", restates="")], LabelRule())
    assert not finished([], LabelRule())


def chosen(store: Store, plan: int) -> set[FrozenRecord]:
    """What a plan trains on and is measured by."""
    name = bytes([plan]) * 32
    return {*store.freeze(name, AT), *store.frozen_held_out(name)}


def test_one_patient_more_or_less_moves_nobody_else(tmp_path: Path) -> None:
    with hospitals.make_node(tmp_path / "node", "a", patients=24, held_out=8, images=1) as node:
        store = node.store
        coins = {row.patient: store.entering().coin(row.patient) for row in store.instances()}
        assert len(set(coins.values())) == 32 and store.entering().rule().everybody
        store.entering().set_rule(EntryRule(share=0.5))
        entered = {patient for patient, coin in coins.items() if coin < 0.5}
        first = chosen(store, 1)
        assert {one.patient for one in first} == entered
        # A reader takes everything back that waits for its turn: reading ahead decides nothing.
        for row in store.instances():
            if row.patient not in entered:
                earlier = store.history(row.id)[0]
                back = replace(said("reader", "not_assessed", row.id, restates=""), supersedes=earlier.id)
                store.annotate(back)
        assert chosen(store, 2) == first
        for number, patient in enumerate(sorted(entered)[:3] + sorted(coins.keys() - entered)[:3]):
            before = chosen(store, 10 + number)
            store.erase(patient)
            assert chosen(store, 20 + number) == {one for one in before if one.patient != patient}
        store.verify()


def test_a_plan_waits_for_the_unread_and_the_coordinator_is_told_no_number(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    release = hospitals.make_release()
    plan = hospitals.make_plan(release, {"a": 8, "b": 8, "c": 8})
    hospitals.make_node(folder, "a").close()
    with Node.open(folder, trust=TRUST) as node:
        row = node.store.instances()[0]
        earlier = node.store.history(row.id)[0]
        back = replace(said("reader", "not_assessed", row.id, restates=""), supersedes=earlier.id)
        node.store.annotate(back)
        with pytest.raises(UnreadError, match="1 of 12 patients"):
            node.store.freeze(plan.hash, AT)
        word = invite(node, plan, release)
        assert not word.accepted and "has not read all that would take part" in word.reason
        assert not any(letter.isdigit() for letter in word.reason)
    run = CliRunner().invoke
    assert "12 patients has come; 1 are not read" in run(commands, ["status", "--folder", str(folder)]).stdout
    checks = {check.name: check for check in examine(folder)}
    assert checks["readings"].state == "skipped" and "1 of 12 patients" in checks["readings"].said
    told = run(commands, ["training-rule", "--folder", str(folder), "--wait-days", "1", "--json"]).stdout
    assert json.loads(told) == {
        "share": 1.0, "a_day": 0, "declared": 0, "since": "", "wait_days": 1, "patients": 0, "unread": 0
    }  # fmt: skip
    told = run(commands, ["training-rule", "--folder", str(folder), "--wait-days", "0", "--share", "0.5"]).stdout
    assert "50.0% of the patients take part, by a coin of their own." in told
    refused = run(commands, ["training-rule", "--folder", str(folder), "--a-day", "3"])
    assert isinstance(refused.exception, AnnotationError)
    with Node.open(folder, trust=TRUST) as node:
        node.store.entering().set_rule(EntryRule())
        node.store.annotate(replace(said("reader", "present", row.id), supersedes=back.id))
        assert invite(node, plan, release).accepted
