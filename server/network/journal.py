"""What a run has done, as lines in its folder: written by the process that carries it out, read by whoever follows.

A line is one sentence with its time. It names sites, rounds and reasons, never anything about patients, since nothing
about patients reaches the coordinator.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..cohort import describe
from ..outcome import Evaluation
from ..progress import (
    AttemptFailed,
    Evaluated,
    Event,
    Resumed,
    RoundFinished,
    RoundStarted,
    RunFinished,
    SiteAgreed,
    SiteMissing,
)

FILE = "journal.jsonl"


class Journal:
    """A watcher that appends a line for each event worth a person's time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def __call__(self, event: Event) -> None:
        """Write down `event`, if there is a sentence for it."""
        text = sentence(event)
        if text:
            line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "text": text})
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")


@dataclass(slots=True)
class Reader:
    """Reads what was added to a run's journal since the last look."""

    folder: Path
    _read: int = 0

    def new(self) -> list[str]:
        """The sentences of whole lines that are new."""
        path = self.folder / FILE
        if not path.exists():
            return []
        with path.open("rb") as stream:
            stream.seek(self._read)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [str(json.loads(line)["text"]) for line in whole.splitlines()]


def sentence(event: Event) -> str:
    """One line for `event`; "" for those that only make a bar move."""
    match event:
        case SiteAgreed(site, cap):
            return f"{site} countersigned the plan (its cap: epsilon {cap:g})"
        case SiteMissing(missing):
            return f"{missing.site} {'refused' if missing.refused else 'is missing'}: {missing.reason}"
        case Resumed(finished):
            return f"going on after round {finished}"
        case RoundStarted(number, rounds, attempt, cohort):
            again = f", attempt {attempt}" if attempt > 1 else ""
            return f"round {number} of {rounds}{again} with {', '.join(cohort)}"
        case AttemptFailed(purpose, number, attempt, reason):
            return f"round {number}: {purpose}, attempt {attempt} opened no sum: {reason}"
        case Evaluated(number, found):
            model = f"after round {number}" if number else "of the starting release"
            return f"AUROC {model}: {_auroc(found)}"
        case RoundFinished(log):
            without = f"; without {describe(log.missing)}" if log.missing else ""
            return f"round {log.round} done in {log.seconds:.1f} s by {', '.join(log.survivors)}{without}"
        case RunFinished(release, gated):
            return f"finished; {gated or f'release {release[:12]}'}"
        case _:
            return ""


def _auroc(found: Evaluation) -> str:
    """Each finding's AUROC with its interval, and the votes where there were any."""
    figures = ", ".join(
        "not told from noise" if one is None else f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
        for one in found.auroc
    )
    return figures + (f"; {found.against} of {found.judged} sites voted against it" if found.judged else "")
