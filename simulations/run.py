"""One study from its file to its result: hospitals, readers, a federation, and what each hospital gets alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .progress import Progress, silent
from .results import StudyResult
from .study import Study

EngineName = Literal["inprocess", "ray"]


def run_study(
    study: Study, data: Path | None, out: Path, engine: EngineName = "inprocess", progress: Progress = silent
) -> StudyResult:
    """Run `study` and return what it found.

    data: the folder that the study's data section is relative to (None for phantoms). out: a folder for the nodes'
    encrypted stores, the coordinator's checkpoints and the release; made if missing, refused if it already holds a
    run. engine: "inprocess", or "ray" for Flower's simulation engine.
    Raises StudyError (bad input), PlanError and UnaccountableError (figures that cannot be had), BudgetError.
    """
    raise NotImplementedError
