"""How a run stands, for a person or a script: what `coordinator train` follows and `coordinator status` lists."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...privacy import wire
from ...privacy.plan import Plan
from ..measuring import gated
from ..outcome import Evaluation, RoundLog
from ..run_folder import FINAL, Checkpoint
from . import requests
from .journal import Reader
from .requests import Request
from .serving import is_served

LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Standing:
    """A run: its request, plan and finished rounds, and its release's folder once there is one.

    before: the starting release's evaluation. gated: why a finished run has no release, "" otherwise.
    """

    request: Request
    plan: Plan
    rounds: tuple[RoundLog, ...]
    release: Path | None
    before: Evaluation | None = None
    gated: str = ""

    def document(self) -> dict[str, object]:
        """What `--json` prints of it."""
        return {
            "run": self.request.name,
            "plan": self.plan.name,
            "plan_hash": self.plan.hash.hex(),
            "state": self.request.state,
            "detail": self.request.detail,
            "rounds": self.plan.rounds,
            "finished": [
                {
                    "round": log.round,
                    "attempts": log.attempts,
                    "survivors": list(log.survivors),
                    "missing": [
                        {"site": one.site, "reason": one.reason, "refused": one.refused} for one in log.missing
                    ],
                    "seconds": log.seconds,
                    "auroc": _auroc(log.evaluation),
                }
                for log in self.rounds
            ],
            "before": _auroc(self.before),
            "gated": self.gated,
            "release": None if self.release is None else str(self.release),
        }


def standing(request: Request) -> Standing:
    """How the run of `request` stands now."""
    folder = request.folder
    kept = folder / "checkpoint.cbor"
    state = wire.decode(Checkpoint, kept.read_bytes()) if kept.exists() else None
    plan = wire.decode(Plan, (folder / "plan.cbor").read_bytes())
    if state is None:
        return Standing(request, plan, (), None)
    finished = request.state == "finished"
    verdict = gated(plan, state.rounds[-1].evaluation) if finished and state.rounds else ""
    release = folder / FINAL if finished and not verdict else None
    return Standing(request, plan, state.rounds, release, state.before, verdict)


def _auroc(found: Evaluation | None) -> object:
    """Each finding's AUROC and interval; None where it was not measured, or is not told from noise."""
    if found is None:
        return None
    return [None if one is None else {"value": one.value, "interval": [one.low, one.high]} for one in found.auroc]


def follow(
    coordinator: Path, request: Request, journal: Reader, say: Callable[[str], None], advance: Callable[[int], None]
) -> Standing:
    """Wait until the run is finished or stopped for good. `say` gets a sentence for whatever happens meanwhile,
    `advance` the number of finished rounds."""
    unserved, waiting = False, ""
    while True:
        request = requests.read(request.folder)
        for sentence in journal.new():
            say(sentence)
        now = standing(request)
        advance(len(now.rounds))
        if request.state in ("finished", "stopped"):
            return now
        if request.state == "waiting" and request.detail != waiting:
            say(f"waiting, to be tried again by itself: {request.detail}")
        waiting = request.detail if request.state == "waiting" else ""
        if not is_served(coordinator):
            if not unserved:
                say(f"no service runs here; start it: medquorum coordinator serve --folder {coordinator} --name HOST")
            unserved = True
        else:
            unserved = False
        time.sleep(LOOK_SECONDS)
