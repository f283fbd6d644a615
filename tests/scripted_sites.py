"""Sites that say what they are told to, as the grid that a coordinator works over."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from medquorum.client.answering import Kind, reply
from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.models.checkpoint import Release
from medquorum.models.network import build
from medquorum.models.parameters import to_vector
from medquorum.privacy import evaluation, wire
from medquorum.privacy.aggregation import CoordinatorAggregation, PlainSite
from medquorum.privacy.evaluation import UNIT
from medquorum.privacy.messages import Countersignature, Greeting, Introduction, Invitation, Step, StepAnswer
from medquorum.privacy.plan import EvaluationTerms, Gate, Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.server import progress
from medquorum.server.aggregation import Gathering, plain
from medquorum.server.app import coordinate
from medquorum.server.outcome import Outcome
from medquorum.server.run_folder import RunFolder, Settings
from medquorum.simulations.engine.local_grid import LocalGrid
from medquorum.task import Finding, Task

TASK = Task((Finding("nodule", "SCT", "27925004", "Nodule"),), "DX")
CARD = ModelCard(TASK, Architecture("small", "random", False, 8, "mean", 4.0), InputTransform(32, 0.5, 0.25), (1.0,))
RELEASE = Release.of(build(CARD.architecture, 1, 3), CARD)
START = to_vector(RELEASE.network().trainable()).numpy()
D = START.size
PLAN = Plan(
    "tests",
    "plan",
    TASK,
    RELEASE.hash,
    (PlanSite("a", 10, 5), PlanSite("b", 30, 5), PlanSite("c", 60, 5)),
    2,
    2,
    TrainingTerms("fedavg", 1, 0.1, 0.0, 0.0, (1.0,), 0.0, False, 1.0, 0.9, 0.99, 0.001),
    PrivacyTerms("local", 8.0, 1e-3, 1.0, 2.0, 10.0, 1.0, "mean"),
    EvaluationTerms(4, 1, 1e-3),
    1,
)
GATED = replace(PLAN, evaluation=EvaluationTerms(4, 0, 1e-3, gate=Gate(0.05, 1)))
QUICK = Settings(gather_seconds=0.0, step_seconds=5.0, attempts=3, wait_seconds=0.0)


class Site:
    """A site that says what it is told to: its update is nominal x `shift` everywhere."""

    def __init__(self, name: str, nominal: int, shift: float) -> None:
        self.name = name
        self.nominal = nominal
        self.shift = shift
        self.refuses_plan = ""
        self.refuse: Callable[[Step], str] = lambda step: ""
        self.steps: list[Step] = []
        self.invitations = 0
        self.gated = False
        self.vote: bool | None = None

    def answer(self, kind: Kind, body: bytes) -> bytes:
        if body == wire.encode(Greeting()):
            return wire.encode(Introduction(self.name, "0"))
        if kind == "query":
            self.invitations += 1
            plan_hash = hashlib.sha256(wire.decode(Invitation, body).plan).digest()
            return wire.encode(Countersignature(plan_hash, self.name, not self.refuses_plan, 8.0, self.refuses_plan))
        step = wire.decode(Step, body)
        self.steps.append(step)
        refusal = self.refuse(step)
        payload = b"" if refusal else PlainSite().answer(step.payload, lambda: self.vector(step))
        return wire.encode(
            StepAnswer(step.plan_hash, step.purpose, step.round, step.attempt, self.name, payload, refusal)
        )

    def vector(self, step: Step) -> np.ndarray:
        if step.purpose == "update":
            return np.full(D, self.nominal * self.shift)
        # One absent patient in bin 1 and one present patient in bin 2 for each nominal patient: AUROC 1.
        counts = self.nominal * np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        plan = GATED if self.gated else PLAN
        return evaluation.with_votes(plan, UNIT * counts, self.vote if step.round else None)


class Network(LocalGrid):
    """The scripted sites as a grid; those in `away` are not connected, those in `silent` never answer a step."""

    def __init__(self, sites: Iterable[Site]) -> None:
        self.sites = dict(enumerate(sites, start=1))
        super().__init__({number: partial(reply, site) for number, site in self.sites.items()})
        self.away: set[str] = set()
        self.silent: set[str] = set()

    def get_node_ids(self) -> Iterable[int]:
        return [number for number, site in self.sites.items() if site.name not in self.away]

    def push_messages(self, messages: Iterable) -> Iterable[str]:
        pushed: list[str] = []
        for message in messages:
            site = self.sites[message.metadata.dst_node_id]
            if site.name in self.silent and message.metadata.message_type != "query":
                pushed.append(f"lost-{site.name}")
            else:
                pushed += super().push_messages([message])
        return pushed


def sites() -> list[Site]:
    """The plan's three."""
    return [Site("a", 10, 0.5), Site("b", 30, -0.25), Site("c", 60, 0.125)]


def carry_out(
    folder: Path,
    network: Network,
    plan: Plan = PLAN,
    settings: Settings = QUICK,
    watch: Callable[[progress.Event], None] = progress.silent,
    sides: Mapping[str, Callable[[Gathering], CoordinatorAggregation]] | None = None,
) -> Outcome:
    """Begin a run in a folder, or go on with it."""
    RunFolder.prepare(folder, plan, RELEASE, settings)
    return coordinate(network, folder, sides or {"plain": plain}, watch)
