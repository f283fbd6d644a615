"""A comparison from its study to its table: prepare the images once, then one cell after another, each kept at once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from ...client.training_set import TrainingSet
from ...privacy.errors import PlanError, UnaccountableError
from ...privacy.plan import Mode
from ...server.atomic import replace_file
from ..data import Hospital, collect
from ..errors import StudyError, StudyRefusedError
from ..outcome import versions
from ..progress import Progress, silent, stage_of
from ..study import Study
from ..training import starting_release
from . import cells
from .cells import Cell, CellResult, Figures, Refusal, cells_of
from .features import Images, data_hash, load_images
from .folds import Fold, fold_of, hospitals_of
from .nodes import train
from .rows import Comparison
from .scoring import score
from .table import tabulate

SCHEMA = "medquorum.compare.manifest/1"
# What a run that ended before its manifest was written may have left.
_OURS = frozenset({"lock", "run.log", "work"})


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
    out.mkdir(parents=True, exist_ok=True)
    with _held(out):
        _require_study(study, out)
        shutil.rmtree(out / "work", ignore_errors=True)
        try:
            results, images, manifest = _all_cells(study, data, out, options, progress)
        finally:
            shutil.rmtree(out / "work", ignore_errors=True)
    return tabulate(study, options.of(study), results, images, manifest, time.monotonic() - started)


def _all_cells(
    study: Study, data: Path | None, out: Path, options: Options, progress: Progress
) -> tuple[list[CellResult], Images, dict[str, object]]:
    with stage_of(progress, "Read the data") as advance:
        first = list(collect(study, data, out / "work" / "first", lambda _: None))
        if study.plan.quorum > len(first):
            raise StudyError(
                f"a quorum of {study.plan.quorum} out of {len(first)} hospitals",
                where=f"{study.file}, plan.quorum",
                fix=f"choose 1 to {len(first)}",
            )
        content = data_hash(study, data, first)
        advance(0)
    manifest = _manifest(study, content, options, out)
    release = starting_release(study, out.resolve().parent)
    with stage_of(progress, "Prepare the images", sum(len(one.truths) for one in first)) as advance:
        images = load_images(study, release, first, content, out.resolve().parent, out / "work", advance)
    (out / "cells").mkdir(exist_ok=True)
    results: list[CellResult] = []
    for seed in options.of(study):
        hospitals = hospitals_of(study, data, seed, out / "work" / "hospitals", first)
        shutil.rmtree(out / "work" / "hospitals", ignore_errors=True)
        wanted = list(cells_of(seed, [one.name for one in hospitals], options.modes, options.epsilons))
        with stage_of(progress, f"Train and score, seed {seed}", len(wanted)) as advance:
            results += _seed(study, seed, wanted, images, hospitals, out, advance)
    return results, images, manifest


def _seed(
    study: Study,
    seed: int,
    wanted: Sequence[Cell],
    images: Images,
    hospitals: Sequence[Hospital],
    out: Path,
    advance: Callable[[int], None],
) -> list[CellResult]:
    """A seed's cells in order; its fold is made only when one is missing."""
    found = {cell: cells.load(cell, out / "cells") for cell in wanted}
    missing = [cell for cell, result in found.items() if result is None]
    if missing:
        release = starting_release(replace(study, seed=seed), out.resolve().parent)
        fold = fold_of(study, seed, images, hospitals, release)
        sets = [fold.rows(ward) for ward in fold.wards]
        for number, cell in enumerate(missing, start=len(wanted) - len(missing)):
            advance(number)
            result = CellResult(cell, _outcome(fold, cell, sets, out / "work" / cell.name))
            cells.save(result, out / "cells")
            found[cell] = result
    advance(len(wanted))
    return [result for result in found.values() if result is not None]


def _outcome(fold: Fold, cell: Cell, sets: Sequence[TrainingSet], work: Path) -> Figures | Refusal:
    began = time.monotonic()
    try:
        trained = train(fold, cell, sets, work)
    except (PlanError, UnaccountableError) as refusal:
        return Refusal(refusal.what, refusal.fix)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return score(fold, cell, trained, lambda: time.monotonic() - began)


@contextmanager
def _held(out: Path) -> Generator[None]:
    """Hold the folder against a second process, so that no cell is run by both."""
    with (out / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StudyRefusedError(
                "another process is running this comparison", where=str(out), fix="wait for it, or stop it"
            ) from None
        yield


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


def _require_study(study: Study, out: Path) -> None:
    kept = _kept(out)
    if kept is None and any(path.name not in _OURS for path in out.iterdir()):
        raise StudyRefusedError(
            "the folder holds something else than a comparison", where=str(out), fix="choose another --out"
        )
    if kept is not None and kept.get("study_hash") != study_hash(study):
        raise StudyRefusedError(
            f"the folder holds a comparison of {kept.get('study')!r} with other settings",
            where=str(out),
            fix="choose another --out, or bring back the study file that it was run with",
        )


def _kept(out: Path) -> dict[str, object] | None:
    path = out / "manifest.json"
    try:
        return cast(dict[str, object], json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StudyError(f"the manifest cannot be read: {error}", where=str(path), fix="choose another --out") from None


def _manifest(study: Study, content: str, options: Options, out: Path) -> dict[str, object]:
    """Check the folder's manifest against the data, and write it with what is asked for now."""
    kept = _kept(out)
    if kept is not None and kept.get("data_hash") != content:
        raise StudyRefusedError(
            "the images, masks or table changed since the folder's cells were run",
            where=str(out),
            fix="choose another --out, or bring the data back",
        )
    manifest: dict[str, object] = {
        "schema": SCHEMA,
        "study": study.name,
        "study_hash": study_hash(study),
        "data_hash": content,
        "seeds": list(options.of(study)),
        "epsilons": list(options.epsilons),
        "modes": list(options.modes),
        "versions": dict(versions()),
    }
    if kept is not None and kept.get("versions") != manifest["versions"]:
        raise StudyRefusedError(
            "the folder's cells were run with other versions",
            where=str(out / "manifest.json"),
            fix="choose another --out, or install the versions that the manifest names",
        )
    replace_file(out / "manifest.json", json.dumps(manifest, indent=1).encode())
    return manifest
