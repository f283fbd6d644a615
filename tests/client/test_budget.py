"""What is left, as a hospital reads it: the rounds that it is told are affordable are the rounds that it can charge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hospitals import make_plan, make_privacy, make_release, make_training
from typer.testing import CliRunner

from medquorum.client.agreements import Agreements
from medquorum.client.budget import budget, lines
from medquorum.client.network.commands import node as commands
from medquorum.privacy.errors import BudgetError
from medquorum.privacy.events import round_events
from medquorum.privacy.heads import sign_head
from medquorum.privacy.identity import Identity
from medquorum.privacy.ledger import Ledger
from medquorum.privacy.plan import Plan

PLAN = make_plan(make_release(), {"a": 6, "b": 6, "c": 6})


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[tuple[Ledger, Agreements]]:
    agreements = Agreements(tmp_path / "agreements.sqlite")
    yield Ledger.create(tmp_path / "ledger.sqlite", "a", 80.0, 1e-2), agreements
    agreements.close()


def charge(ledger: Ledger, plan: Plan, attempt: int) -> None:
    ledger.charge(plan.hash, "update", 1, attempt, round_events(plan), plan.privacy.epsilon, plan.privacy.delta)


def test_the_rounds_said_to_be_affordable_are(rooms: tuple[Ledger, Agreements]) -> None:
    ledger, agreements = rooms
    assert budget(*rooms).plans == () and budget(*rooms).left == 80.0
    agreements.countersign(PLAN, 50.0)
    charge(ledger, PLAN, 1)
    (one,) = budget(*rooms).plans
    assert one.name == PLAN.name and one.rounds is not None and 0.0 < one.spent < one.epsilon
    for attempt in range(2, 2 + one.rounds):
        charge(ledger, PLAN, attempt)
    with pytest.raises(BudgetError):
        charge(ledger, PLAN, 99)
    after = budget(*rooms)
    assert after.plans[0].rounds == 0
    assert (after.committed, after.left) == (PLAN.privacy.epsilon, 80.0 - PLAN.privacy.epsilon)
    assert "0 more rounds are affordable" in "\n".join(lines(after))


def test_what_colluding_sites_could_learn_is_shown_apart_and_never_charged(rooms: tuple[Ledger, Agreements]) -> None:
    ledger, agreements = rooms
    shared = replace(
        PLAN,
        training=make_training(local_steps=1),
        privacy=make_privacy(mode="distributed", noise_multiplier=2.0),
        evaluation=None,
    )
    agreements.countersign(shared, 50.0)
    charge(ledger, shared, 1)
    (one,) = budget(*rooms).plans
    assert [line.colluding for line in one.collusions] == [0, 1, 2]
    assert one.spent < one.collusions[0].epsilon < one.collusions[2].epsilon
    said = "\n".join(lines(budget(*rooms)))
    assert f"together with 1 other site that tell it their noise: epsilon {one.collusions[1].epsilon:.4g}" in said


def test_what_was_adopted_and_closed_is_said(rooms: tuple[Ledger, Agreements], tmp_path: Path) -> None:
    ledger, _ = rooms
    charge(ledger, PLAN, 1)
    identity = Identity.create()
    other = Ledger.create(tmp_path / "other", "a", 80.0, 1e-2)
    charge(other, PLAN, 1)
    ledger.adopt([sign_head(identity, other.head(), bytes(32))], identity.public)
    now = budget(*rooms)
    assert now.adopted == PLAN.privacy.epsilon and now.committed == 2 * PLAN.privacy.epsilon
    said = "\n".join(lines(now))
    assert "proved by peers" in said and "closed since" in said and PLAN.hash.hex()[:12] in said


def test_the_command_prints_it_and_refuses_half_a_ledger(rooms: tuple[Ledger, Agreements], tmp_path: Path) -> None:
    ledger, agreements = rooms
    agreements.countersign(PLAN, 50.0)
    charge(ledger, PLAN, 1)
    shown = CliRunner().invoke(commands, ["budget", "--folder", str(tmp_path)])
    assert shown.exit_code == 0 and "more rounds are affordable" in shown.stdout
    document = json.loads(CliRunner().invoke(commands, ["budget", "--folder", str(tmp_path), "--json"]).stdout)
    assert document["epsilon_cap"] == 80.0 and document["plans"][0]["name"] == PLAN.name
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(path.read_bytes()[:9000])
    assert CliRunner().invoke(commands, ["budget", "--folder", str(tmp_path)]).exit_code != 0
