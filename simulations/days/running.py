"""A study's loops over the days: every seed and order, one after another, each kept as soon as it is over."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from ...server.atomic import replace_file
from ..compare.features import data_hash, load_images
from ..compare.folds import Fold, fold_of, hospitals_of
from ..compare.running import study_hash
from ..data import collect
from ..errors import StudyError, StudyRefusedError
from ..outcome import model_of, versions
from ..progress import Progress, silent, stage_of
from ..resumable.folder import alone
from ..study import Study
from ..training import starting_release
from . import course
from .course import Course
from .loop import run_loop

SCHEMA = "medquorum.days.manifest/1"
LOOPS = "loops"
# What a run that ended before its manifest was written may have left.
_OURS = frozenset({"lock", "run.log", "work"})


@dataclass(frozen=True, slots=True)
class Days:
    """All loops of a study: courses by seed and order, what they were made of, and how long this run took."""

    study: Study
    courses: tuple[Course, ...]
    model: str
    manifest: dict[str, object]
    seconds: float

    def of(self, order: str) -> list[Course]:
        """The courses of one order, one for each seed."""
        return [one for one in self.courses if one.order == order]


def run_days(study: Study, data: Path | None, out: Path, seeds: int, progress: Progress = silent) -> Days:
    """Run every loop that `out` does not hold yet, and return all.

    data: the study's folder of images (None for phantoms). out: made if missing; one of another study, other data or
    other versions is refused. A run that was stopped goes on: a finished loop is never run again. Raises StudyError
    (bad input), StudyRefusedError (the folder), and what production raises.
    """
    started = time.monotonic()
    _require_share(study)
    out.mkdir(parents=True, exist_ok=True)
    with alone(out, "these loops"):
        courses, manifest = _all(study, data, out, seeds, progress)
    return Days(study, tuple(courses), model_of(study), manifest, time.monotonic() - started)


def _require_share(study: Study) -> None:
    terms, sites = study.days, study.sites
    if terms.hidden_share >= sites.held_out:
        raise StudyError(
            f"{terms.hidden_share:g} of the patients are read hidden and {sites.held_out:g} are held out, which leaves "
            "none to test releases on",
            where=f"{study.file}, days.hidden_share",
            fix=f"choose less than {sites.held_out:g}, or hold more out (sites.held_out)",
        )


def _all(
    study: Study, data: Path | None, out: Path, seeds: int, progress: Progress
) -> tuple[list[Course], dict[str, object]]:
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
    manifest = _manifest(study, content, out)
    release = starting_release(study, out.resolve().parent)
    with stage_of(progress, "Prepare the images", sum(len(one.truths) for one in first)) as advance:
        images = load_images(study, release, first, content, out.resolve().parent, out / "work", advance)
    (out / LOOPS).mkdir(exist_ok=True)
    courses: list[Course] = []
    for seed in range(study.seed, study.seed + seeds):
        fold: Fold | None = None
        for order in study.days.orders:
            found = course.load(seed, order, out / LOOPS)
            if found is None:
                if fold is None:
                    hospitals = hospitals_of(study, data, seed, out / "work" / "hospitals", first)
                    shutil.rmtree(out / "work" / "hospitals", ignore_errors=True)
                    start = starting_release(replace(study, seed=seed), out.resolve().parent)
                    fold = fold_of(study, seed, images, hospitals, start)
                place = out / "work" / course.name_of(seed, order)
                with stage_of(progress, f"Days, seed {seed}, {order}", study.days.days) as advance:
                    found = run_loop(fold, study.days, order, place, advance)
                shutil.rmtree(place, ignore_errors=True)
                course.save(found, out / LOOPS)
            courses.append(found)
    return courses, manifest


def _manifest(study: Study, content: str, out: Path) -> dict[str, object]:
    """Check what the folder holds against study, data and versions, and write its manifest."""
    path = out / "manifest.json"
    words = repr((study_hash(study), replace(study.days, orders=()), study.readers))
    manifest: dict[str, object] = {
        "schema": SCHEMA,
        "study": study.name,
        "study_hash": hashlib.sha256(words.encode()).hexdigest(),
        "data_hash": content,
        "versions": dict(versions()),
    }
    try:
        kept = cast(dict[str, object], json.loads(path.read_bytes()))
    except FileNotFoundError:
        if any(one.name not in _OURS for one in out.iterdir()):
            raise StudyRefusedError(
                "the folder holds something else than loops over days", where=str(out), fix="choose another --out"
            ) from None
        kept = manifest
    except (OSError, ValueError) as error:
        raise StudyError(f"the manifest cannot be read: {error}", where=str(path), fix="choose another --out") from None
    for key, what in (
        ("schema", "something else than loops over days"),
        ("study_hash", "loops of other settings"),
        ("data_hash", "loops on other images, masks or labels"),
        ("versions", "loops by other versions"),
    ):
        if kept.get(key) != manifest[key]:
            raise StudyRefusedError(
                f"the folder holds {what}", where=str(path), fix="choose another --out, or bring those back"
            )
    replace_file(path, json.dumps(manifest, indent=1).encode())
    return manifest
