"""Gates on subgroups at one node: what fails, what is not asked, and that only noised copies have a say in the vote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import coordinating
import hospitals
import numpy as np
import pytest
from coordinating import invite, model, vector

from medquorum.client.agreements import Agreements
from medquorum.client.benches import Benches
from medquorum.client.budget import budget, lines
from medquorum.client.evaluate import Evaluated, Verdict, evaluated, group_histograms, vote
from medquorum.client.node import Node
from medquorum.client.policy import Policy, PolicyError
from medquorum.models.checkpoint import Release
from medquorum.models.parameters import to_vector
from medquorum.privacy import evaluation
from medquorum.privacy.events import evaluation_events, plan_evaluation_events
from medquorum.privacy.guarantee import guarantee
from medquorum.privacy.guarantee import lines as promised
from medquorum.privacy.messages import Step
from medquorum.privacy.plan import EvaluationTerms, Gate, Mode, Plan
from medquorum.privacy.randomness import SeededRandomness
from medquorum.privacy.subgroups import SubgroupGate, Traits, parsed

BINS = 10
GROUPS = (*parsed("sex=F"), *parsed("sex=M"), *parsed("age>=65"))
ASKED = SubgroupGate(GROUPS, 0.1, minimum_patients=60)
TERMS = EvaluationTerms(BINS, 0, 0.5, gate=Gate(0.1, 0, ASKED))
ALONE = EvaluationTerms(BINS, 0, 0.5, gate=Gate(0.1, 0))


@pytest.fixture(scope="module")
def release() -> Release:
    return hospitals.make_release()


def plan_of(release: Release, mode: Mode = "local", terms: EvaluationTerms = TERMS, **changes: Any) -> Plan:
    return hospitals.make_plan(
        release,
        {"a": 4, "b": 8},
        quorum=1,
        training=hospitals.make_training(local_steps=1),
        privacy=hospitals.make_privacy(mode=mode, noise_multiplier=3.0),
        evaluation=terms,
        **changes,
    )


def ward(men: int, women: int, harmed: bool, seed: int) -> tuple[np.ndarray, ...]:
    """Scores (N, 1), labels (N, 1), patients (N,) and traits: well told apart, except that for women, when they are
    harmed, scores say nothing."""
    draw = np.random.default_rng(seed)
    labels = (np.arange(men + women) % 2).astype(float)
    scores = np.clip(0.25 + 0.5 * labels + 0.12 * draw.standard_normal(labels.size), 0.0, 0.999)
    if harmed:
        scores[men:] = draw.permutation(scores[men:])
    traits = [Traits("M", 40)] * men + [Traits("F", 40)] * women
    return scores[:, None], labels[:, None], np.arange(men + women), np.array(traits, dtype=object)


def judged(plan: Plan, before: tuple[np.ndarray, ...], after: tuple[np.ndarray, ...], seed: int) -> Evaluated:
    """What a site with these held-out patients makes of the last model."""
    source = SeededRandomness(seed)
    kept: np.ndarray | None = None
    made: Evaluated | None = None
    for round, (scores, labels, patients, traits) in ((0, before), (plan.rounds, after)):
        histograms = group_histograms(scores, labels, patients, evaluation.counted(plan, round), list(traits))
        made = evaluated(plan, histograms, round, kept, source)
        kept = made.copy
    assert made is not None
    return made


def words(made: Evaluated) -> dict[str, Verdict]:
    return {one.group: one for one in made.verdicts}


@pytest.mark.parametrize("mode", ["local", "distributed", "none"])
def test_a_release_that_harms_women_is_voted_down_though_the_whole_passes(release: Release, mode: Mode) -> None:
    plan = plan_of(release, mode)
    before, after = ward(900, 150, False, 1), ward(900, 150, True, 2)
    made = judged(plan, before, after, 3)
    found = words(made)
    assert not found["everybody"].failed and not found["sex=M"].failed and found["sex=F"].failed
    assert found["age>=65"].before is None  # there is nobody of that age
    assert made.vector[-2:].tolist() == [1.0, 1.0]
    unharmed = judged(plan, before, ward(900, 150, False, 4), 5)
    assert unharmed.vector[-2:].tolist() == [0.0, 1.0]
    alone = replace(plan, evaluation=ALONE)
    assert judged(alone, before, after, 3).vector[-2:].tolist() == [0.0, 1.0]
    assert len(made.vector) == len(judged(alone, before, after, 3).vector)  # one vote, whatever was judged


def test_a_floor_is_of_the_last_model_alone(release: Release) -> None:
    floor = replace(TERMS, gate=Gate(0.9, 0, SubgroupGate(GROUPS, 1.0, floor=0.8, minimum_patients=60)))
    bad = ward(900, 150, True, 2)
    made = judged(plan_of(release, terms=floor), bad, bad, 3)
    assert words(made)["sex=F"].failed and not words(made)["everybody"].failed
    assert vote(made.verdicts) is False


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_a_subgroup_with_too_few_is_not_asked_and_nobody_outside_can_tell(release: Release, mode: Mode) -> None:
    plan = plan_of(release, mode)
    made = judged(plan, ward(900, 12, False, 1), ward(900, 12, True, 2), 3)
    assert words(made)["sex=F"] == Verdict("sex=F", None, None, 0.0, False)
    assert made.vector[-2:].tolist() == [0.0, 1.0]
    assert "not asked" in words(made)["sex=F"].words()


def test_more_gates_raise_no_more_false_alarms(release: Release) -> None:
    """Nothing changed between the two: in one run of twenty at most a site may say that something did."""
    same = ward(120, 120, False, 1)
    plan = plan_of(release, terms=replace(TERMS, gate=Gate(0.0, 0, replace(ASKED, max_fall=0.0, minimum_patients=1))))
    votes = [vote(judged(plan, same, same, seed).verdicts) for seed in range(300)]
    assert sum(one is False for one in votes) <= 30 and votes.count(None) == 0


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_the_vote_and_who_is_asked_follow_from_noised_copies_alone(
    release: Release, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever the patients are, with the same copies everything that is said is the same: no exact count has a say."""
    plan = plan_of(release, mode)
    fixed = judged(plan, ward(900, 150, False, 1), ward(900, 150, True, 2), 3)
    assert fixed.copy is not None
    drawn: dict[int, np.ndarray] = {}

    def exchanged(plan: Plan, histograms: np.ndarray, source: object) -> np.ndarray:
        """A release that was made of other patients: the same for the same place, whatever the counts."""
        return drawn.setdefault(histograms.size, np.rint(np.abs(fixed.copy[-histograms.size :])))  # pyright: ignore[reportOptionalSubscript]

    monkeypatch.setattr(evaluation, "hidden", exchanged)
    monkeypatch.setattr(evaluation, "noised_copy", exchanged)
    nobody = tuple(part[:0] for part in ward(1, 1, False, 1))
    made = [judged(plan, one, one, 4) for one in (ward(900, 12, False, 5), ward(30, 2000, True, 6), nobody)]
    assert made[0].verdicts == made[1].verdicts == made[2].verdicts
    assert [one.vector[-2:].tolist() for one in made] == [[0.0, 1.0]] * 3
    assert any(one.before is not None for one in made[2].verdicts)


# ---- at a node


class _Wards(Benches):
    """Workbenches whose held-out patients are those of `ward`: the starting release's scores, then the last model's."""

    def __init__(self, inner: Benches, release: Release, wards: tuple[tuple[np.ndarray, ...], ...]) -> None:
        self._inner = inner
        self._first = to_vector(release.network().trainable()).numpy().astype("<f4").tobytes()
        self._wards = wards
        self._scores = wards[0][0]
        self.labels, self.patients = wards[0][1], wards[0][2]

    def training(self, plan: Plan) -> Any:
        return self._inner.training(plan)

    def training_records(self, plan: Plan) -> Any:
        return self._inner.training_records(plan)

    def held_out(self, plan: Plan) -> Any:
        return self

    def held_out_traits(self, plan: Plan) -> tuple[Traits, ...]:
        return tuple(self._wards[0][3])

    def load(self, parameters: bytes) -> None:
        pass

    def probabilities(self, parameters: bytes) -> np.ndarray:
        return self._wards[0 if parameters == self._first else 1][0]


def opened(folder: Path, release: Release, wards: tuple[tuple[np.ndarray, ...], ...]) -> Node:
    hospitals.make_node(folder, "a", 4, 0, images=1, epsilon_cap=900.0).close()
    node = Node.open(folder, hospitals.RIGHTS)
    node._federation._benches = _Wards(node._federation._benches, release, wards)  # pyright: ignore[reportPrivateUsage]
    return node


@pytest.fixture
def node(tmp_path: Path, release: Release) -> Iterator[Node]:
    with opened(tmp_path / "a", release, (ward(900, 150, False, 1), ward(900, 150, True, 2))) as node:
        yield node


def ask(node: Node, plan: Plan, release: Release, round: int) -> np.ndarray:
    return vector(coordinating.ask(node, Step(plan.hash, "evaluation", round, 1, model(release, round), b"")))


def test_a_node_votes_keeps_what_it_found_for_its_own_people_and_charges_for_all_of_it(
    node: Node, release: Release, tmp_path: Path
) -> None:
    noted: list[dict[str, Any]] = []

    class Noting:
        def append(self, kind: str, who: str, **what: Any) -> None:
            if kind == "gate":
                noted.append(what)

    node._federation._trail = Noting()  # pyright: ignore[reportPrivateUsage]
    for mode in ("local", "distributed"):
        plan = plan_of(release, mode, name=mode)
        assert invite(node, plan, release).accepted
        assert ask(node, plan, release, 0)[-2:].tolist() == [0.0, 0.0]
        assert ask(node, plan, release, 3)[-2:].tolist() == [1.0, 1.0]
        charged = [event for one in node.ledger.charges() if one.plan_hash == plan.hash for event in one.events]
        assert charged == [event for round in (0, 3) for event in evaluation_events(plan, round)]
        most = 2 if mode == "local" else 3
        scale = evaluation.UNIT * 0.5 * np.sqrt(most)
        assert [event.shares.points for event in charged[1::2] if event.shares] == pytest.approx([scale] * 2)
    said = "\n".join(lines(budget(node.ledger, node._agreements)))  # pyright: ignore[reportPrivateUsage]
    assert said.count("Gate on sex=F: failed: AUROC") == 2 and said.count("Gate on everybody: passed") == 2
    assert said.count("Gate on age>=65: not asked") == 2
    assert [(one["group"], one["said"][:6]) for one in noted[:3]] == [
        ("everybody", "passed"),
        ("sex=F", "failed"),
        ("sex=M", "passed"),
    ]
    assert "Evaluation, gates on subgroups included, costs a patient held out" in said


def test_the_charge_is_not_that_of_everybodys_histograms_alone(release: Release) -> None:
    """In mode "local" the copy is a second release; shared it is one, but of more groups under more noise."""
    assert sum(event.steps for event in plan_evaluation_events(plan_of(release, "local", ALONE))) == 3
    assert sum(event.steps for event in plan_evaluation_events(plan_of(release, "local"))) == 6
    shared, bare = plan_of(release, "distributed"), plan_of(release, "distributed", ALONE)
    assert evaluation.copy_shares(shared).points == pytest.approx(np.sqrt(3.0) * evaluation.copy_shares(bare).points)


def test_what_a_plan_with_subgroups_would_cost_is_said(release: Release) -> None:
    found = guarantee(plan_of(release))
    assert found.subgroups == ("sex=F", "sex=M", "age>=65") and found.without_subgroups < found.evaluation
    said = "\n".join(promised(found))
    assert "judges sex=F, sex=M, age>=65 before its one vote; at the same noise evaluation would cost" in said
    bare = guarantee(plan_of(release, terms=ALONE))
    assert bare.subgroups == () and bare.without_subgroups == bare.evaluation == found.without_subgroups


def test_a_site_that_forbids_it_refuses_the_plan(tmp_path: Path, release: Release) -> None:
    policy = replace(hospitals.OPEN_POLICY, subgroups=False)
    with pytest.raises(PolicyError, match="subgroups by sex and age"):
        policy.check(plan_of(release), release.card)
    policy.check(plan_of(release, terms=ALONE), release.card)
    policy.write(tmp_path / "policy.toml")
    assert "subgroups = false" in (tmp_path / "policy.toml").read_text()
    assert Policy.read(tmp_path / "policy.toml") == policy
    with hospitals.make_node(tmp_path / "a", "a", 4, 4, policy=policy, images=1) as node:
        said = invite(node, plan_of(release), release)
    assert not said.accepted and "subgroups" in said.reason


def test_what_was_found_is_kept_over_a_restart(tmp_path: Path, release: Release) -> None:
    found = (Verdict("everybody", 0.91, 0.9, 0.01, False), Verdict("sex=F", None, None, 0.0, False))
    kept = Agreements(tmp_path / "agreements.sqlite")
    plan = plan_of(release)
    kept.countersign(plan, 30.0)
    assert kept.verdicts(plan.hash) == ()
    kept.keep_verdicts(plan.hash, found[:1])
    kept.keep_verdicts(plan.hash, found)
    kept.close()
    again = Agreements(tmp_path / "agreements.sqlite")
    assert again.verdicts(plan.hash) == found
    again.close()


def test_the_patients_traits_are_one_sex_and_one_age_of_all_their_held_out_images(
    tmp_path: Path, release: Release
) -> None:
    with hospitals.make_node(tmp_path / "a", "a", 4, 3, images=2) as node:
        plan = plan_of(release)
        assert invite(node, plan, release).accepted
        stated = {
            record.instance: traits
            for record, traits in zip(
                node.store.frozen_held_out(plan.hash),
                [Traits("F", 40), Traits("F", 50), Traits("M"), Traits("F"), Traits(), Traits("", 80)],
                strict=True,
            )
        }
        benches = Benches(node.store, node.releases)
        node.store.traits = lambda ids: {one: stated[one] for one in ids}  # pyright: ignore[reportAttributeAccessIssue]
        assert benches.held_out_traits(plan) == (Traits("F", 50), Traits(), Traits("", 80))
