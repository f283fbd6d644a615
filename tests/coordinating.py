"""The coordinator's side of a node's one door, for tests: a plan to countersign, steps to take, and what comes back."""

from __future__ import annotations

import numpy as np

from medquorum.client.node import Node
from medquorum.client.trust import Trust
from medquorum.models.checkpoint import Release
from medquorum.models.parameters import to_vector
from medquorum.privacy import wire
from medquorum.privacy.aggregation import PlainVector
from medquorum.privacy.identity import Identity
from medquorum.privacy.messages import Countersignature, Invitation, Step, StepAnswer
from medquorum.privacy.plan import Plan
from medquorum.privacy.plan_signatures import sign_plan

COORDINATOR = Identity.create()
SITE = Identity.create()
TRUST = Trust("tests", COORDINATOR.public, SITE)


def invite(node: Node, plan: Plan, release: Release, by: Identity | None = COORDINATOR) -> Countersignature:
    """Ask for the node's countersignature. by: who signed the plan; None: nobody."""
    signature = b"" if by is None else sign_plan(by, plan)
    body = wire.encode(Invitation(wire.encode(plan), *release.to_bytes(), signature))
    return wire.decode(Countersignature, node.answer("query", body))


def model(release: Release, shift: float = 0.0) -> bytes:
    """The release's parameters as a step carries them, each moved by `shift`."""
    return (to_vector(release.network().trainable()).numpy() + np.float32(shift)).astype("<f4").tobytes()


def ask(node: Node, step: Step) -> StepAnswer:
    """Have the node take a step; its answer names that step."""
    kind = "train" if step.purpose == "update" else "evaluate"
    said = wire.decode(StepAnswer, node.answer(kind, wire.encode(step)))
    bound = (step.plan_hash, step.purpose, step.round, step.attempt, node.site)
    assert (said.plan_hash, said.purpose, said.round, said.attempt, said.site) == bound
    assert not said.payload or not said.refusal
    return said


def vector(said: StepAnswer) -> np.ndarray:
    """What a node answered that was asked for a plain vector."""
    assert said.refusal == ""
    return np.frombuffer(wire.decode(PlainVector, said.payload).values, dtype="<f8")
