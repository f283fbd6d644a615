"""A comparison from its study to its table: prepare the images once, then one cell after another, each kept at once."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from ...client.training_set import TrainingSet
from ...privacy.plan import Mode
from ..data import Hospital
from ..describe.division import division_of, require_both_classes
from ..errors import StudyError
from ..gather import gather, show
from ..progress import Progress, silent, stage_of
from ..resumable import folder
from ..resumable.outcomes import Figures, Outcome, Refusal, attempt
from ..study import Study
from ..training import starting_release
from . import cells
from .cells import Cell, CellResult, cells_of
from .features import Images, data_hash, load_images
from .folds import Fold, fold_of, hospitals_of
from .nodes import train
from .rows import Comparison
from .scoring import score
from .table import tabulate

SCHEMA = "medquorum.compare.manifest/2"
KIND = "comparison"


def private_modes() -> tuple[str, ...]:
    """The privacy modes that this version has."""
    return tuple(mode for mode in get_args(Mode) if mode != "none")


@dataclass(frozen=True, slots=True)
class Options:
    """What is compared: how many seeds (from the study's own upwards), which epsilons, which private modes."""

    seeds: int = 5
    epsilons: tuple[float, ...] = (1.0, 3.0, 8.0)
    modes: tuple[str, ...] = ("local",)

    def of(self, study: Study) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(study.seed, study.seed + self.seeds))


def compare_cells(
    study: Study, data: Path | None, out: Path, options: Options, progress: Progress = silent
) -> Comparison:
    """Run every cell of the comparison that `out` does not hold yet, and return its table.

    data: the study's folder of images (None for phantoms). out: a folder for the cells, made if missing; one of another
    study or other data is refused. A run that was stopped goes on: a finished cell is never run again.
    Raises StudyError (bad input), StudyRefusedError (the folder), and what production raises.
    """
    started = time.monotonic()
    with folder.held(out, KIND):
        folder.require_study(out, KIND, study_hash(study))
        results, images, manifest = _all_cells(study, data, out, options, progress)
    return tabulate(study, options.of(study), results, images, manifest, time.monotonic() - started)


def _all_cells(
    study: Study, data: Path | None, out: Path, options: Options, progress: Progress
) -> tuple[list[CellResult], Images, dict[str, object]]:
    with stage_of(progress, "Read the data") as advance:
        first, division = gather(study, data, out / "work" / "first", lambda _: None)
        content = data_hash(study, data, first)
        advance(0)
    show(division, out, progress)
    manifest = _manifest(study, data, content, options)
    folder.write_manifest(out, manifest)
    release = starting_release(study, out.resolve().parent)
    with stage_of(progress, "Prepare the images", sum(len(one.truths) for one in first)) as advance:
        images = load_images(study, release, first, content, out.resolve().parent, out / "work", advance)
    (out / "cells").mkdir(exist_ok=True)
    results: list[CellResult] = []
    for seed in options.of(study):
        lone = [one.name for one in first] if study.compare.alone else []
        wanted = list(cells_of(seed, lone, options.modes, options.epsilons))
        with stage_of(progress, f"Train and score, seed {seed}", len(wanted)) as advance:
            hospitals = _divided(study, data, seed, out / "work" / "hospitals", first)
            results += _seed(study, seed, wanted, images, hospitals, out, advance)
    return results, images, manifest


def _divided(
    study: Study, data: Path | None, seed: int, place: Path, first: Sequence[Hospital]
) -> list[Hospital] | Refusal:
    """The hospitals of a seed, or why there are none: a seed may draw a division that leaves a site without both
    classes, which is no reason to lose the others."""
    try:
        hospitals = hospitals_of(study, data, seed, place, first)
        seeded = replace(study, seed=seed)
        require_both_classes(seeded, division_of(seeded, hospitals))
    except StudyError as error:
        return Refusal(error.what, error.fix)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return hospitals


def _seed(
    study: Study,
    seed: int,
    wanted: Sequence[Cell],
    images: Images,
    hospitals: Sequence[Hospital] | Refusal,
    out: Path,
    advance: Callable[[int], None],
) -> list[CellResult]:
    """A seed's cells in order; its fold is made only when one is missing."""
    found = {cell: cells.load(cell, out / "cells") for cell in wanted}
    missing = [cell for cell, result in found.items() if result is None]
    if missing and isinstance(hospitals, Refusal):
        for cell in missing:
            found[cell] = CellResult(cell, hospitals)
            cells.save(CellResult(cell, hospitals), out / "cells")
    elif missing and not isinstance(hospitals, Refusal):
        release = starting_release(replace(study, seed=seed), out.resolve().parent)
        fold = fold_of(study, seed, images, hospitals, release)
        sets = [fold.rows(ward) for ward in fold.wards]
        for number, cell in enumerate(missing, start=len(wanted) - len(missing)):
            advance(number)
            result = CellResult(cell, train_and_score(fold, cell, sets, out / "work" / cell.name))
            cells.save(result, out / "cells")
            found[cell] = result
    advance(len(wanted))
    return [result for result in found.values() if result is not None]


def train_and_score(fold: Fold, cell: Cell, sets: Sequence[TrainingSet], work: Path) -> Outcome:
    """One cell's figures, or its refusal; `work` is for what the training leaves on disk, and is removed."""
    began = time.monotonic()

    def run() -> Figures:
        trained = train(fold, cell, sets, work)
        return score(fold, cell, trained, lambda: time.monotonic() - began)

    try:
        return attempt(run)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def study_hash(study: Study) -> str:
    """SHA-256, in hex, over all of the study that decides a cell's figures."""
    plan = replace(study.plan, mode="none", epsilon=1.0, epsilon_cap=1.0, evaluation_bins=0)
    words = (
        study.seed,
        study.data,
        study.sites,
        study.task,
        study.model,
        plan,
        study.readers.regions,
        study.compare,
        study.pretraining,
    )
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _manifest(study: Study, data: Path | None, content: str, options: Options) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "study": study.name,
        "study_text": study.file.read_text(encoding="utf-8"),
        "study_hash": study_hash(study),
        "data": None if data is None else str(data.resolve()),
        "data_hash": content,
        "seed": study.seed,
        "seeds": list(options.of(study)),
        "epsilons": list(options.epsilons),
        "modes": list(options.modes),
        **folder.made_with(),
    }
