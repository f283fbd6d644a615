"""A sweep from its study and axes to its rows: everything that cannot work is said first, then one cell after another
is trained, each kept at once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..compare.features import data_hash, kept_in, load_images
from ..data import Hospital, collect
from ..describe import text
from ..describe.division import Division
from ..errors import StudyError, StudyRefusedError
from ..estimate import Cost, cost_of, require_memory
from ..gather import gather, keep
from ..progress import Progress, Told, silent, stage_of
from ..report import figures
from ..resumable import folder, outcomes
from ..resumable.outcomes import Refusal
from ..study import Study
from ..training import starting_release
from .grid import Axis, Planned, plan_cells
from .rows import Foretold, Sweep, Swept
from .training import Job, path_of, run_all

SCHEMA = "medquorum.sweep.manifest/1"
KIND = "sweep"


@dataclass(frozen=True, slots=True, eq=False)
class _Site:
    """Hospitals that several cells share, with the hash of their data."""

    hospitals: Sequence[Hospital]
    division: Division
    content: str


def sweep_cells(
    file: Path, axes: Sequence[Axis], data: Path | None, out: Path, jobs: int = 1, progress: Progress = silent
) -> Sweep:
    """Run every cell that `out` does not hold yet, and return all.

    file: the study. data: its folder of images (None for phantoms). out: a folder for the cells, made if missing; one
    of another study or other data is refused. jobs: processes at once. A sweep that was stopped goes on: a finished
    cell is never run again, and more values add only what is missing. A cell that a rule forbids is a refusal.
    Raises StudyError (bad input), StudyRefusedError (the folder, too little memory, or no cell that can be run).
    """
    started = time.monotonic()
    planned = plan_cells(file, axes)
    base = plan_cells(file, ())[0].study
    assert not isinstance(base, Refusal)  # a study that cannot be read was said above
    with folder.held(out, KIND):
        folder.require_study(out, KIND, sweep_hash(base))
        divided, planned = _divided(planned, data, out, progress)
        manifest = _manifest(base, axes, data, out)
        (out / "cells").mkdir(exist_ok=True)
        foretold = _run(planned, divided, data, out, jobs, progress)
        cells = tuple(_finished(out, one) for one in planned)
    private = [
        None if isinstance(one.study, Refusal) or one.study.plan.mode == "none" else one.study.plan.epsilon
        for one in planned
    ]
    return Sweep(
        study=base.name,
        description=base.description,
        synthetic=base.synthetic,
        findings=base.task.keys,
        axes=tuple(axes),
        cells=cells,
        epsilons=tuple(private),
        modes=tuple("" if isinstance(one.study, Refusal) else one.study.plan.mode for one in planned),
        foretold=foretold,
        manifest=manifest,
        seconds=time.monotonic() - started,
    )


def sweep_hash(study: Study) -> str:
    """SHA-256, in hex, over all of a study's content but its file's path."""
    return hashlib.sha256(repr(replace(study, file=Path())).encode()).hexdigest()


def _finished(out: Path, one: Planned) -> Swept:
    if isinstance(one.study, Refusal):
        return Swept(one.cell, one.study)
    outcome = outcomes.load(path_of(out, one.cell), one.cell.identity)
    assert outcome is not None
    return Swept(one.cell, outcome)


def _place(study: Study) -> str:
    """Names the hospitals that a study has: cells that agree in it are divided alike."""
    return repr((study.data, study.sites, study.seed, study.task))


def _divided(
    planned: Sequence[Planned], data: Path | None, out: Path, progress: Progress
) -> tuple[dict[str, _Site], list[Planned]]:
    """The hospitals of every cell, looked through; cells whose division cannot work become refusals. What no cell
    could work with, such as a folder that is not there, is raised."""
    sites: dict[str, _Site | StudyError | StudyRefusedError] = {}
    contents: dict[str, str] = {}
    checked: list[Planned] = []
    with stage_of(progress, "Divide the patients", len(planned)) as advance:
        for number, one in enumerate(planned):
            if isinstance(one.study, Refusal):
                checked.append(one)
                continue
            study = one.study
            # The quorum and the model's memory belong to the check, though not to the division.
            key = _place(study) + repr((study.plan.quorum, study.model))
            if key not in sites:
                sites[key] = _look(study, data, out / "work" / f"data-{len(sites)}", contents)
            found = sites[key]
            checked.append(one if isinstance(found, _Site) else Planned(one.cell, Refusal(found.what, found.fix)))
            if isinstance(found, _Site):
                sites[_place(study)] = found
            advance(number + 1)
    faults = [one for one in sites.values() if not isinstance(one, _Site)]
    if faults and all(isinstance(one.study, Refusal) for one in checked):
        raise faults[0]
    good = {key: one for key, one in sites.items() if isinstance(one, _Site)}
    divisions = list({id(one): one.division for one in good.values()}.values())
    if divisions:
        more = f"\n  (and {len(divisions) - 1} other divisions)" if len(divisions) > 1 else ""
        progress(Told(text.table(divisions[0]) + more))
        keep(divisions[0], out)
    return good, checked


def _look(
    study: Study, data: Path | None, place: Path, contents: dict[str, str]
) -> _Site | StudyError | StudyRefusedError:
    try:
        hospitals, division = gather(study, data, place, lambda _: None)
    except (StudyError, StudyRefusedError) as error:
        return error
    sources = sorted(source for one in hospitals for source in one.truths)
    names = hashlib.sha256(repr((study.data, study.seed if study.synthetic else 0, sources)).encode()).hexdigest()
    if names not in contents:
        contents[names] = data_hash(study, data, hospitals)
    return _Site(hospitals, division, contents[names])


def whole_hash(study: Study, data: Path | None, place: Path) -> str:
    """SHA-256, in hex, over all that the table names whatever the partition, or over the phantoms' recipe."""
    if study.synthetic:
        return data_hash(study, None, ())
    sites = replace(study.sites, partition="iid", names=("all",), sizes=())
    return data_hash(study, data, collect(replace(study, sites=sites), data, place, lambda _: None))


def _manifest(base: Study, axes: Sequence[Axis], data: Path | None, out: Path) -> dict[str, object]:
    manifest: dict[str, object] = {
        "schema": SCHEMA,
        "kind": KIND,
        "study": base.name,
        "study_text": base.file.read_text(encoding="utf-8"),
        "study_hash": sweep_hash(base),
        "data": None if data is None else str(data.resolve()),
        "data_hash": whole_hash(base, data, out / "work" / "whole"),
        "seed": base.seed,
        "axes": {axis.key: list(axis.values) for axis in axes},
        **folder.made_with(),
    }
    folder.write_manifest(out, manifest)
    return manifest


def _run(
    planned: Sequence[Planned],
    divided: dict[str, _Site],
    data: Path | None,
    out: Path,
    at_once: int,
    progress: Progress,
) -> Foretold:
    """Say what it will take, prepare the images, and run what is missing."""
    missing: list[tuple[Job, _Site]] = []
    for one in planned:
        if isinstance(one.study, Refusal) or outcomes.load(path_of(out, one.cell), one.cell.identity) is not None:
            continue
        site = divided[_place(one.study)]
        missing.append((Job(one.cell, one.study, data, site.content, out), site))
    runnable = sum(not isinstance(one.study, Refusal) for one in planned)
    at_once = max(1, min(at_once, len(missing)))
    foretold = _foretell(missing, at_once, out.resolve().parent)
    refused = len(planned) - runnable
    said = f"{figures.count(len(planned), 'cell')}: {runnable - len(missing)} finished before, {refused} refused, "
    said += f"{len(missing)} to run"
    if missing:
        said += (
            f", {at_once} at a time: about {figures.duration(foretold.seconds)}, "
            f"at least {figures.size(foretold.memory)} of memory"
        )
    progress(Told(said))
    if not missing:
        return foretold
    require_memory(missing[0][0].study, foretold.memory // at_once, at_once)
    _prepare(missing, out, progress)
    with stage_of(progress, "Train and score", len(missing)) as advance:
        for done, _ in enumerate(run_all([job for job, _ in missing], at_once), start=1):
            advance(done)
    return foretold


def _foretell(missing: Sequence[tuple[Job, _Site]], at_once: int, beside: Path) -> Foretold:
    costs: dict[str, Cost] = {}
    looked: set[str] = set()
    seconds = 0.0
    memory = 0
    for job, site in missing:
        study, images = job.study, site.division.images
        key = repr((study.model, study.plan, study.sites.train_share, images))
        plain = None
        if key not in costs:
            plain = starting_release(replace(study, pretraining=None), beside)
            trained_on = sum(one.train.images for one in site.division.sites)
            costs[key] = cost_of(study, plain, images, trained_on)
        if (inputs := _inputs(job)) not in looked:
            looked.add(inputs)
            plain = plain or starting_release(replace(study, pretraining=None), beside)
            seconds += 0.0 if kept_in(study, plain, job.content, beside).exists() else costs[key].prepare * at_once
        seconds += costs[key].seconds
        memory = max(memory, costs[key].memory)
    starting = 8.0 if at_once > 1 else 0.0  # each process imports torch and flwr
    return Foretold(len(missing), at_once, memory * at_once, starting + seconds / at_once)


def _inputs(job: Job) -> str:
    """Names the inputs that a job's training takes: cells that agree in it share features."""
    study = job.study
    pooling = study.model.architecture.pooling == "mean" and study.plan.region_weight == 0.0
    return repr((job.content, study.model, study.task, study.pretraining, pooling))


def _prepare(missing: Sequence[tuple[Job, _Site]], out: Path, progress: Progress) -> None:
    """Make, one after another, the features and starting models that jobs would otherwise make at the same time."""
    first: dict[str, tuple[Job, _Site]] = {}
    for job, site in missing:
        first.setdefault(_inputs(job) + (str(job.study.seed) if job.study.pretraining else ""), (job, site))
    beside = out.resolve().parent
    with stage_of(progress, "Prepare the images", sum(site.division.images for _, site in first.values())) as advance:
        done = 0
        for job, site in first.values():
            release = starting_release(job.study, beside)
            load_images(
                job.study,
                release,
                site.hospitals,
                job.content,
                beside,
                out / "work",
                lambda n, before=done: advance(before + n),
            )
            done += site.division.images
