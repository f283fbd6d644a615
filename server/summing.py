"""One attempt to open one sum: drive the coordinator's side of an aggregation until it is open or has failed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..privacy import wire
from ..privacy.aggregation import Opened
from ..privacy.errors import AggregationError, WireError
from ..privacy.messages import Step, StepAnswer
from .aggregation import CoordinatorSide, Gathering
from .courier import Courier, Kind
from .outcome import Missing
from .progress import SiteAnswered, Watcher


@dataclass(frozen=True, slots=True)
class Sum:
    """What came of an attempt: the opened sum or None with the `fault`, and who of the cohort is not in it."""

    opened: Opened | None
    missing: tuple[Missing, ...]
    fault: str


def open_sum(
    courier: Courier,
    side: CoordinatorSide,
    gathering: Gathering,
    parameters: bytes,
    seconds: float,
    watch: Watcher,
) -> Sum:
    """Send the aggregation's steps to the cohort until the sum is open.

    parameters: the round's model (float32, little endian); it travels with the first step only, a node keeps it for
    the attempt. seconds: deadline of each step. A site that refuses or stays silent has dropped out and is named.
    """
    kind: Kind = "train" if gathering.purpose == "update" else "evaluate"
    aggregation = side(gathering)
    missing: dict[str, Missing] = {}
    model = parameters
    try:
        while requests := aggregation.requests():
            steps = {site: wire.encode(_step(gathering, model, payload)) for site, payload in requests.items()}
            delivery = courier.send(kind, steps, seconds, gathering.round, _reporter(gathering, watch))
            missing.update({site: Missing(site, reason, False) for site, reason in delivery.missing.items()})
            payloads: dict[str, bytes] = {}
            for site, answer in delivery.answers.items():
                taken = _read(gathering, site, answer)
                if isinstance(taken, Missing):
                    missing[site] = taken
                else:
                    payloads[site] = taken
            aggregation.receive(payloads)
            model = b""
    except AggregationError as fault:
        return Sum(None, _absent(gathering, (), missing), fault.what)
    opened = aggregation.opened
    if opened is None:
        return Sum(None, _absent(gathering, (), missing), "the aggregation ended without opening its sum")
    fault = _unusable(opened.total, gathering.length)
    if fault:
        return Sum(None, _absent(gathering, (), missing), fault)
    return Sum(opened, _absent(gathering, opened.survivors, missing), "")


def model_hash(parameters: bytes) -> bytes:
    """SHA-256 of a round's parameters (32 bytes)."""
    return hashlib.sha256(parameters).digest()


def _step(gathering: Gathering, model: bytes, payload: bytes) -> Step:
    return Step(gathering.plan.hash, gathering.purpose, gathering.round, gathering.attempt, model, payload)


def _reporter(gathering: Gathering, watch: Watcher) -> Callable[[str], None]:
    return lambda site: watch(SiteAnswered(site, gathering.purpose, gathering.round))


def _read(gathering: Gathering, site: str, answer: bytes) -> bytes | Missing:
    try:
        said = wire.decode(StepAnswer, answer)
    except WireError as fault:
        return Missing(site, f"answered a step with something else: {fault}", False)
    bound = (said.plan_hash, said.purpose, said.round, said.attempt, said.site)
    if bound != (gathering.plan.hash, gathering.purpose, gathering.round, gathering.attempt, site):
        return Missing(site, "its answer is bound to another plan, round, attempt or site", False)
    return Missing(site, said.refusal, True) if said.refusal else said.payload


def _absent(gathering: Gathering, survivors: tuple[str, ...], missing: dict[str, Missing]) -> tuple[Missing, ...]:
    dropped = {site: Missing(site, "dropped out of the aggregation", False) for site in gathering.cohort}
    if not survivors:
        return tuple(missing[site] for site in gathering.cohort if site in missing)
    return tuple((dropped | missing)[site] for site in gathering.cohort if site not in survivors)


def _unusable(total: NDArray[np.float64], length: int) -> str:
    if total.shape != (length,):
        return f"the opened sum has {total.size} values instead of {length}"
    return "" if np.isfinite(total).all() else "the opened sum holds values that are not finite"
