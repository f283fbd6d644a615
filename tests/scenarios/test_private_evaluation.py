"""Evaluation end to end with real nodes, plain and encrypted: the same noised figures, charged, voted on, gated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import encrypted
import hospitals
import pytest
from encrypted import Network

from medquorum.client.node import Node
from medquorum.models.checkpoint import Release
from medquorum.privacy.accounting import epsilon, plan_epsilon
from medquorum.privacy.events import evaluation_events
from medquorum.privacy.plan import EvaluationTerms, Gate, Mode, Plan, PlanSite
from medquorum.server.outcome import Outcome

SITES = {"a": 4, "b": 4, "c": 4}
HELD_OUT = 24
EVALUATION = EvaluationTerms(5, 0, 0.6, minimum_patients=10, gate=Gate(0.2, 2))


@pytest.fixture(scope="module")
def release() -> Release:
    return hospitals.make_release()


def plan_of(release: Release, mode: Mode) -> Plan:
    plan = hospitals.make_plan(
        release,
        SITES,
        quorum=3,
        rounds=1,
        training=hospitals.make_training(local_steps=1),
        privacy=hospitals.make_privacy(mode=mode, noise_multiplier=3.0),
        evaluation=None,
    )
    sites = tuple(PlanSite(site.name, site.patients, 20) for site in plan.sites)
    return replace(plan, sites=sites, evaluation=EVALUATION)


def run(plan: Plan, release: Release, folder: Path, network: Network | None) -> tuple[Outcome, dict[str, Path]]:
    folders = {name: folder / name for name in SITES}
    for name, patients in SITES.items():
        hospitals.make_node(folders[name], name, patients, HELD_OUT, images=1).close()
    return encrypted.run(plan, release, folders, folder, network), folders


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_plain_and_encrypted_evaluations_give_the_same_figures_to_the_last_bit(
    tmp_path: Path, release: Release, mode: Mode
) -> None:
    plan = plan_of(release, mode)
    plain, folders = run(plan, release, tmp_path / "plain", None)
    secure, _ = run(plan, release, tmp_path / "secure", Network(SITES))
    for outcome in (plain, secure):
        before, after = outcome.before, outcome.rounds[-1].evaluation
        assert before is not None and after is not None
        assert before.sites == after.sites == tuple(SITES)
        assert before.judged == 0 and 0 < after.judged <= 3 and after.against <= after.judged
        assert before.auroc[0] is not None and before.auroc[0].low <= before.auroc[0].value <= before.auroc[0].high
        assert outcome.gated == ""
    # The starting model is the same in both runs. After training, rounding under the mask may differ (mode "local").
    assert plain.before == secure.before
    if mode == "distributed":
        assert plain.rounds[-1].evaluation == secure.rounds[-1].evaluation
    for name, folder in folders.items():
        with Node.open(folder, hospitals.RIGHTS) as node:
            made = [charge for charge in node.ledger.charges() if charge.purpose == "evaluation"]
            assert [(charge.round, charge.attempt) for charge in made] == [(0, 1), (1, 1)], name
            events = [event for round in (0, 1) for event in evaluation_events(plan, round)]
            assert [event for charge in made for event in charge.events] == events
            assert node.ledger.spent_on(plan.hash) == pytest.approx(epsilon(events, plan.privacy.delta))
            assert node.ledger.spent_on(plan.hash) < plan_epsilon(plan)
