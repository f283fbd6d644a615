"""A federation whose training harms one subgroup: every site votes it down by a noised copy, and only votes are seen.

Real nodes and the real coordinator, plain and encrypted; the held-out patients' scores are given, so that what training
did to whom is known.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import encrypted
import hospitals
import numpy as np
import pytest
from encrypted import Network

from medquorum.client.benches import Benches
from medquorum.client.node import Node
from medquorum.models.checkpoint import Release
from medquorum.models.parameters import to_vector
from medquorum.privacy.accounting import epsilon
from medquorum.privacy.events import evaluation_events
from medquorum.privacy.plan import EvaluationTerms, Gate, Mode, Plan, PlanSite
from medquorum.privacy.subgroups import SubgroupGate, Traits, parsed
from medquorum.server.outcome import Outcome

SITES = {"a": 4, "b": 4, "c": 4}
GROUPS = (*parsed("sex"), *parsed("age<40"), *parsed("age>=65"))
GATE = Gate(0.1, 0, SubgroupGate(GROUPS, 0.1, minimum_patients=80))


@pytest.fixture(scope="module")
def release() -> Release:
    return hospitals.make_release()


def plan_of(release: Release, mode: Mode, gate: Gate) -> Plan:
    plan = hospitals.make_plan(
        release,
        SITES,
        quorum=3,
        rounds=1,
        training=hospitals.make_training(local_steps=1),
        privacy=hospitals.make_privacy(mode=mode, noise_multiplier=3.0, delta=1e-4),
        evaluation=None,
    )
    sites = tuple(PlanSite(site.name, site.patients, 1000) for site in plan.sites)
    return replace(plan, sites=sites, evaluation=EvaluationTerms(10, 0, 1.0, minimum_patients=10, gate=gate))


class _Held(Benches):
    """A node's own workbenches for training; held out, women past 65 among others, whom the last model tells nothing
    about."""

    def __init__(self, inner: Benches, release: Release, women: int) -> None:
        self._inner = inner
        self._start = to_vector(release.network().trainable()).numpy().astype("<f4").tobytes()
        draw = np.random.default_rng(women)
        self._traits = (Traits("M", 40),) * 1000 + (Traits("F", 70),) * women
        self.patients = np.arange(len(self._traits))
        self.labels = (self.patients % 2).astype(float)[:, None]
        good = 0.25 + 0.5 * self.labels + 0.12 * draw.standard_normal(self.labels.shape)
        self._good = np.clip(good, 0.0, 0.999)
        self._harmed = self._good.copy()
        self._harmed[1000:] = draw.permutation(self._good[1000:])

    def training(self, plan: Plan) -> Any:
        return self._inner.training(plan)

    def training_records(self, plan: Plan) -> Any:
        return self._inner.training_records(plan)

    def held_out(self, plan: Plan) -> Any:
        return self

    def held_out_traits(self, plan: Plan) -> tuple[Traits, ...]:
        return self._traits

    def load(self, parameters: bytes) -> None:
        pass

    def probabilities(self, parameters: bytes) -> np.ndarray:
        return self._good if parameters == self._start else self._harmed


def carried_out(
    plan: Plan, release: Release, folder: Path, women: int, monkeypatch: pytest.MonkeyPatch, network: Network | None
) -> tuple[Outcome, dict[str, Path]]:
    folders = {name: folder / name for name in SITES}
    for name, patients in SITES.items():
        hospitals.make_node(folders[name], name, patients, 0, images=1).close()
    open_node = Node.open

    def opened(*arguments: Any, **named: Any) -> Node:
        node = open_node(*arguments, **named)
        federation = cast(Any, node)._federation
        federation._benches = _Held(federation._benches, release, women)
        return node

    with monkeypatch.context() as patched:
        patched.setattr(Node, "open", opened)
        return encrypted.run(plan, release, folders, folder, network), folders


@pytest.mark.parametrize(("mode", "secure"), [("local", False), ("distributed", True)])
def test_a_release_that_is_good_on_the_whole_and_bad_for_old_women_is_not_released(
    tmp_path: Path, release: Release, mode: Mode, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(release, mode, GATE)
    network = Network(SITES) if secure else None
    outcome, folders = carried_out(plan, release, tmp_path, 150, monkeypatch, network)
    last = outcome.rounds[-1].evaluation
    assert last is not None and (last.against, last.judged) == (3, 3)
    assert outcome.gated.startswith("gated: 3 of 3 sites voted against the release")
    assert not any(word in outcome.gated for word in ("sex", "age", "F"))
    for folder in folders.values():
        with Node.open(folder, hospitals.RIGHTS) as node:
            found = {one.group: one for one in cast(Any, node)._agreements.verdicts(plan.hash)}
            assert [name for name, one in found.items() if one.failed] == ["sex=F", "age>=65"]
            assert found["sex=O"].before is None and found["age<40"].before is None
            charged = [event for one in node.ledger.charges() if one.purpose == "evaluation" for event in one.events]
            assert charged == [event for round in (0, 1) for event in evaluation_events(plan, round)]
            assert len(charged) == 4
            assert node.ledger.spent_on(plan.hash) >= epsilon(charged, plan.privacy.delta)


def test_with_few_of_them_nobody_is_asked_and_without_these_gates_nobody_asks(
    tmp_path: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, gate, women in (("few", GATE, 15), ("ungated", Gate(0.1, 0), 150)):
        plan = plan_of(release, "local", gate)
        outcome, _ = carried_out(plan, release, tmp_path / name, women, monkeypatch, None)
        last = outcome.rounds[-1].evaluation
        assert last is not None and (last.against, last.judged) == (0, 3), name
        assert outcome.gated == ""
