"""The rounds against scripted sites: figures by hand, sites that refuse, vanish and come back, and resuming."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scripted_sites import GATED, PLAN, QUICK, RELEASE, START, D, Network, Site, carry_out, sites

from medquorum.client.answering import Kind
from medquorum.models.parameters import to_vector
from medquorum.privacy import wire
from medquorum.privacy.aggregation import Opened, PlainCoordinator
from medquorum.privacy.errors import AggregationError
from medquorum.privacy.messages import Greeting, Invitation, Step, StepAnswer
from medquorum.privacy.plan import EvaluationTerms, PlanSite
from medquorum.server import progress
from medquorum.server.aggregation import Gathering
from medquorum.server.errors import QuorumError, RunError, ServerError
from medquorum.server.outcome import Evaluation, Outcome


def auroc(found: Evaluation | None) -> float:
    assert found is not None and found.auroc[0] is not None
    return found.auroc[0].value


def final_parameters(outcome: Outcome) -> np.ndarray:
    return to_vector(outcome.release.network().trainable()).numpy()


def stepped(parameters: np.ndarray, mean: float) -> np.ndarray:
    """One FedAvg step by hand, kept as 32-bit floats."""
    return (parameters.astype(np.float64) + mean).astype(np.float32)


def test_fedavg_is_the_mean_weighted_by_nominal_patients(tmp_path: Path) -> None:
    outcome = carry_out(tmp_path, Network(sites()))
    mean = (10 * 0.5 - 30 * 0.25 + 60 * 0.125) / 100
    assert np.array_equal(final_parameters(outcome), stepped(stepped(START, mean), mean))
    assert [log.survivors for log in outcome.rounds] == [("a", "b", "c")] * 2
    assert outcome.rounds[0].update_norm == pytest.approx(mean * D**0.5)
    assert auroc(outcome.before) == pytest.approx(1.0)
    assert [auroc(log.evaluation) for log in outcome.rounds] == [pytest.approx(1.0)] * 2
    record = outcome.release.card.training[-1]
    assert (record.sites, record.nominal_patients, record.rounds) == (("a", "b", "c"), (10, 30, 60), 2)
    assert (record.epsilon, record.aggregation, record.plan_hash) == (8.0, "plain", PLAN.hash.hex())


@pytest.mark.parametrize(("votes", "reason"), [((True, False, None), ""), ((False, False, True), "2 of 3 sites voted")])
def test_a_gate_keeps_back_what_more_sites_than_tolerated_vote_against(
    tmp_path: Path, votes: tuple[bool | None, ...], reason: str
) -> None:
    network = Network(sites())
    for site, vote in zip(network.sites.values(), votes, strict=True):
        site.vote, site.gated = vote, True
    events: list[progress.Event] = []
    outcome = carry_out(tmp_path, network, GATED, watch=events.append)
    assert reason in outcome.gated and bool(outcome.gated) == bool(reason)
    assert (tmp_path / ("gated" if reason else "final")).is_dir()
    assert not (tmp_path / ("final" if reason else "gated")).exists()
    assert events[-1] == progress.RunFinished(outcome.release.hash.hex(), outcome.gated)
    assert [log.evaluation is None for log in outcome.rounds] == [True, False]
    assert carry_out(tmp_path, network, GATED).gated == outcome.gated


def test_a_gate_that_nobody_could_judge_stays_shut_and_a_lost_evaluation_is_asked_for_once_more(tmp_path: Path) -> None:
    network = Network(sites())
    for site in network.sites.values():
        site.gated = True
        site.refuse = lambda step: "lost" if step.purpose == "evaluation" and step.round else ""
    outcome = carry_out(tmp_path, network, GATED)
    assert "no site could judge" in outcome.gated
    asked = [(step.round, step.attempt) for step in network.sites[1].steps if step.purpose == "evaluation"]
    assert asked == [(0, 1), (2, 1), (2, 2)]


def test_sites_that_declare_too_few_held_out_patients_are_not_asked(tmp_path: Path) -> None:
    network = Network(sites())
    few = (*PLAN.sites[:2], PlanSite("c", 60, 4))
    plan = replace(PLAN, sites=few, evaluation=EvaluationTerms(4, 1, 1e-3, minimum_patients=5))
    outcome = carry_out(tmp_path, network, plan)
    assert outcome.before is not None and outcome.before.sites == ("a", "b")
    assert {step.purpose for step in network.sites[3].steps} == {"update"}


def test_a_temperature_that_the_histograms_prove_is_in_the_releases_card(tmp_path: Path) -> None:
    """All who are absent score in the second of four bins and all who are present in the third: too timid."""
    outcome = carry_out(tmp_path, Network(sites()))
    assert outcome.rounds[-1].evaluation is not None
    assert outcome.release.card.temperatures == outcome.rounds[-1].evaluation.temperatures
    assert outcome.release.card.temperatures[0] < 0.2
    assert carry_out(tmp_path / "none", Network(sites()), replace(PLAN, evaluation=None)).release.card.temperatures == (
        1.0,
    )


def test_every_site_is_sent_the_same_model_in_each_round(tmp_path: Path) -> None:
    network = Network(sites())
    carry_out(tmp_path, network)
    for index in range(5):
        assert len({site.steps[index].parameters for site in network.sites.values()}) == 1
    rounds = [(s.purpose, s.round, s.attempt) for s in network.sites[1].steps]
    assert rounds == [
        ("evaluation", 0, 1),
        ("update", 1, 1),
        ("evaluation", 1, 1),
        ("update", 2, 1),
        ("evaluation", 2, 1),
    ]


def test_bytes_are_those_of_our_messages(tmp_path: Path) -> None:
    network = Network(sites())
    outcome = carry_out(tmp_path, network)
    site = outcome.traffic[0]
    steps = sum(len(wire.encode(step)) for step in network.sites[1].steps)
    card, tensors = RELEASE.to_bytes()
    invitation = len(wire.encode(Invitation(wire.encode(PLAN), card, tensors)))
    assert site.down == steps + invitation + len(wire.encode(Greeting()))
    assert sum(one.up for log in outcome.rounds for one in log.traffic if one.site == "a") > 2 * 8 * D


def test_a_silent_site_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    network = Network(sites())
    network.silent.add("b")
    outcome = carry_out(tmp_path, network, settings=replace(QUICK, step_seconds=0.2))
    assert outcome.rounds[0].survivors == ("a", "c")
    assert [(one.site, one.refused) for one in outcome.rounds[0].missing] == [("b", False)]
    assert "no answer within 0.2 s" in outcome.rounds[0].missing[0].reason
    mean = (10 * 0.5 + 60 * 0.125) / 70
    assert np.array_equal(final_parameters(outcome), stepped(stepped(START, mean), mean))
    assert outcome.release.card.training[-1].sites == ("a", "c")


def test_a_refusing_site_is_named_with_its_reason(tmp_path: Path) -> None:
    network = Network(sites())
    network.sites[2].refuses_plan = "the cap is 2"
    network.sites[3].refuse = lambda step: "spent" if step.purpose == "evaluation" else ""
    events: list[progress.Event] = []
    outcome = carry_out(tmp_path, network, watch=events.append)
    assert [(one.site, one.reason, one.refused) for one in outcome.missing] == [("b", "the cap is 2", True)]
    assert outcome.rounds[0].missing == outcome.missing
    assert outcome.rounds[0].survivors == ("a", "c")
    assert outcome.before is None
    assert network.sites[2].invitations == 1
    assert any(isinstance(one, progress.AttemptFailed) and "c (refused: spent)" in one.reason for one in events)


def test_without_a_quorum_of_agreement_nothing_is_asked(tmp_path: Path) -> None:
    network = Network(sites())
    network.sites[1].refuses_plan = "no DX here"
    network.away.add("c")
    with pytest.raises(QuorumError) as caught:
        carry_out(tmp_path, network)
    assert "a (refused: no DX here)" in str(caught.value)
    assert "c (its node is not connected)" in str(caught.value)
    assert not any(site.steps for site in network.sites.values())


def test_a_lost_quorum_is_retried_under_new_attempts_and_then_named(tmp_path: Path) -> None:
    network = Network(sites())
    network.silent |= {"a", "b"}
    events: list[progress.Event] = []
    with pytest.raises(QuorumError) as caught:
        carry_out(tmp_path, network, replace(PLAN, evaluation=None), replace(QUICK, step_seconds=0.05), events.append)
    assert "round 1 of 2" in str(caught.value)
    assert "a (no answer" in str(caught.value)
    assert [(step.round, step.attempt) for step in network.sites[3].steps] == [(1, 1), (1, 2), (1, 3)]
    assert [one.attempt for one in events if isinstance(one, progress.RoundStarted)] == [1, 2, 3]
    network.silent.clear()
    outcome = carry_out(tmp_path, network, replace(PLAN, evaluation=None))
    assert [log.attempts for log in outcome.rounds] == [4, 1]


def test_refusals_are_retried_once_only_since_the_willing_pay_for_each_attempt(tmp_path: Path) -> None:
    """Once, because a node that was started again amid an attempt refuses that one and answers the next."""
    network = Network(sites())
    for number in (1, 2):
        network.sites[number].refuse = lambda step: "spent"
    with pytest.raises(QuorumError, match=r"a \(refused: spent\)"):
        carry_out(tmp_path, network, replace(PLAN, evaluation=None))
    assert len(network.sites[3].steps) == 2


def test_a_site_that_comes_back_is_invited_and_takes_part(tmp_path: Path) -> None:
    network = Network(sites())
    network.away.add("a")
    network.silent.add("b")

    def watch(event: progress.Event) -> None:
        if isinstance(event, progress.AttemptFailed):
            network.away.clear()
            network.silent.clear()

    plan = replace(PLAN, evaluation=None)
    outcome = carry_out(tmp_path, network, plan, replace(QUICK, step_seconds=0.05), watch)
    assert outcome.rounds[0].survivors == ("a", "b", "c")
    assert outcome.rounds[0].attempts == 2
    assert outcome.missing == ()


class StoppedError(Exception):
    """Stands for the coordinator's death."""


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
@pytest.mark.parametrize("moment", ["RoundStarted", "SiteAnswered", "Evaluated", "RoundFinished"])
def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, strategy: str, moment: str) -> None:
    """Stopped once at each kind of moment in round 2, the run ends with the same model and repeats nothing."""
    plan = replace(PLAN, rounds=3, training=replace(PLAN.training, strategy=strategy))
    undisturbed = carry_out(tmp_path / "whole", Network(sites()), plan)
    network = Network(sites())
    rounds = {"Evaluated": 2}

    def watch(event: progress.Event) -> None:
        number = event.log.round if isinstance(event, progress.RoundFinished) else getattr(event, "round", 0)
        if type(event).__name__ == moment and number == rounds.get(moment, 2):
            raise StoppedError

    with pytest.raises(StoppedError):
        carry_out(tmp_path / "stopped", network, plan, watch=watch)
    events: list[progress.Event] = []
    outcome = carry_out(tmp_path / "stopped", network, plan, watch=events.append)
    assert outcome.release.hash == undisturbed.release.hash
    assert [log.round for log in outcome.rounds] == [1, 2, 3]
    assert all(auroc(log.evaluation) == pytest.approx(1.0) for log in outcome.rounds)
    finished = 2 if moment in ("Evaluated", "RoundFinished") else 1
    assert progress.Resumed(finished) in events
    for site in network.sites.values():
        asked = [(step.purpose, step.round, step.attempt) for step in site.steps]
        assert len(set(asked)) == len(asked)
        updates = [step.round for step in site.steps if step.purpose == "update"]
        assert updates == [1, 2, 3] if finished == 2 or moment == "RoundStarted" else sorted(updates)
    assert sum(one.down for one in outcome.traffic) > sum(one.down for one in undisturbed.traffic)


def test_a_finished_run_is_not_asked_again(tmp_path: Path) -> None:
    network = Network(sites())
    first = carry_out(tmp_path, network)
    asked = len(network.sites[1].steps)
    network.away |= {"a", "b", "c"}
    second = carry_out(tmp_path, network)
    assert second.release.hash == first.release.hash
    assert second.rounds == first.rounds
    assert len(network.sites[1].steps) == asked


def test_an_answer_bound_elsewhere_does_not_count(tmp_path: Path) -> None:
    class Replaying(Site):
        first = b""

        def answer(self, kind: Kind, body: bytes) -> bytes:
            said = super().answer(kind, body)
            if kind == "train":
                self.first = self.first or said
                return self.first
            return said

    network = Network([Replaying("a", 10, 0.5), *sites()[1:]])
    outcome = carry_out(tmp_path, network, replace(PLAN, evaluation=None))
    assert outcome.rounds[0].survivors == ("a", "b", "c")
    assert outcome.rounds[1].survivors == ("b", "c")
    assert "bound to another" in outcome.rounds[1].missing[0].reason


def test_a_sum_that_is_not_finite_is_not_used(tmp_path: Path) -> None:
    network = Network([Site("a", 10, float("nan")), *sites()[1:]])
    with pytest.raises(QuorumError, match="not finite"):
        carry_out(tmp_path, network, replace(PLAN, evaluation=None))


def test_two_nodes_of_one_name_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="two connected nodes"):
        carry_out(tmp_path, Network([*sites(), Site("a", 10, 9.0)]))


def test_an_unknown_aggregation_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="'secure'"):
        carry_out(tmp_path, Network(sites()), settings=replace(QUICK, aggregation="secure"))


class TwoSteps:
    """A made-up protocol: everybody first says that they are ready; only then does the plain sum begin."""

    def __init__(self, gathering: Gathering) -> None:
        self._cohort = gathering.cohort
        self._inner: PlainCoordinator | None = None
        self._gathering = gathering

    def requests(self) -> Mapping[str, bytes]:
        return dict.fromkeys(self._cohort, b"ready?") if self._inner is None else self._inner.requests()

    def receive(self, answers: Mapping[str, bytes]) -> None:
        if self._inner is not None:
            return self._inner.receive(answers)
        if len(answers) < len(self._cohort):
            raise AggregationError("somebody is not ready")
        self._inner = PlainCoordinator(tuple(answers), self._gathering.plan.quorum, self._gathering.length)
        return None

    @property
    def opened(self) -> Opened | None:
        return None if self._inner is None else self._inner.opened


def test_an_aggregation_of_several_steps_sends_the_model_once(tmp_path: Path) -> None:
    class Patient(Site):
        def answer(self, kind: Kind, body: bytes) -> bytes:
            if kind != "query" and (step := wire.decode(Step, body)).payload == b"ready?":
                self.steps.append(step)
                return wire.encode(
                    StepAnswer(step.plan_hash, step.purpose, step.round, step.attempt, self.name, b"yes", "")
                )
            return super().answer(kind, body)

    network = Network([Patient("a", 10, 0.5), Patient("b", 30, -0.25), Patient("c", 60, 0.125)])
    settings = replace(QUICK, aggregation="patient")
    outcome = carry_out(tmp_path, network, settings=settings, sides={"patient": TwoSteps})
    assert outcome.release.card.training[-1].aggregation == "patient"
    assert [len(step.parameters) for step in network.sites[1].steps] == [4 * D, 0] * 5
