"""What the coordinator and a node say to each other, one frozen dataclass a message.

Every message but the greeting is bound to (plan hash, purpose, round, attempt, sender or receiver); a node answers
nothing that is not bound to a plan it countersigned.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import __version__
from .aggregation import Purpose


@dataclass(frozen=True, slots=True)
class Greeting:
    """Asks a node which site it is, and says which version of medquorum asks."""

    version: str = __version__


@dataclass(frozen=True, slots=True)
class Introduction:
    """A node's answer to a greeting: its site and the version of medquorum it runs."""

    site: str
    version: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """A plan put before a site, with the starting release's card (JSON) and tensors (safetensors).

    signature: the coordinator's over the plan (64 bytes, see plan_signatures); empty only in simulation."""

    plan: bytes
    card: bytes
    tensors: bytes
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Countersignature:
    """A site's word on a plan: accepted under its own epsilon cap, or refused with a reason for the operator.

    signature: the site's over the rest (64 bytes, see plan_signatures); empty only in simulation."""

    plan_hash: bytes
    site: str
    accepted: bool
    epsilon_cap: float
    reason: str
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an aggregation: `parameters` is the round's model (float32, little endian, the trainable
    parameters in the checkpoint's order; empty in steps that need no model), `payload` the aggregation's own."""

    plan_hash: bytes
    purpose: Purpose
    round: int
    attempt: int
    parameters: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class StepAnswer:
    """A site's answer to a step; `refusal` is empty unless the site refused, and then says why."""

    plan_hash: bytes
    purpose: Purpose
    round: int
    attempt: int
    site: str
    payload: bytes
    refusal: str
