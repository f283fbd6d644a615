"""One cell of a sweep: the federation that its study plans, trained and scored, in this process or in one of many."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ...client.training_set import TrainingSet
from ..compare import cells as compare_cells
from ..compare.features import load_images
from ..compare.folds import Fold, fold_of
from ..compare.running import train_and_score
from ..data import collect
from ..resumable import outcomes
from ..run_log import run_log
from ..study import Study
from ..training import starting_release
from .grid import Cell


@dataclass(frozen=True, slots=True)
class Job:
    """What it takes to run a cell anywhere: its study, the data and their hash, and the sweep's folder."""

    cell: Cell
    study: Study
    data: Path | None
    content: str
    out: Path


def run(job: Job) -> None:
    """Train and score a cell and keep its outcome in the sweep's folder."""
    fold, sets = _fold(_Divided(job.study, job.data, job.content, job.out))
    study = job.study
    private = study.plan.mode != "none"
    cell = compare_cells.Cell(study.seed, "federated", study.plan.mode, study.plan.epsilon if private else None)
    # A cell is its study's own plan: what a comparison changes of it for a mode is not asked here.
    alone = replace(fold, study=replace(study, compare=replace(study.compare, settings=())))
    outcome = train_and_score(alone, cell, sets, job.out / "work" / job.cell.name)
    outcomes.save(path_of(job.out, job.cell), job.cell.identity, outcome)


def path_of(out: Path, cell: Cell) -> Path:
    """Where a cell's outcome is kept."""
    return out / "cells" / f"{cell.name}.json"


@dataclass(frozen=True)
class _Divided:
    """Whatever of a job decides its rows; jobs that agree in it share them."""

    study: Study
    data: Path | None
    content: str
    out: Path

    def _key(self) -> str:
        study = self.study
        # Region targets follow the plan's weight of the region loss and what readers draw.
        words = (study.data, study.sites, study.seed, study.task, study.model, study.pretraining, study.readers.regions)
        return repr((words, study.plan.region_weight, self.data, self.content, self.out))

    def __hash__(self) -> int:
        return hash(self._key())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Divided) and self._key() == other._key()


@lru_cache(maxsize=1)
def _fold(divided: _Divided) -> tuple[Fold, Sequence[TrainingSet]]:
    """The rows of a study, from the features that the sweep prepared; the last are kept for the next cell."""
    study, out = divided.study, divided.out
    work = out / "work" / f"rows-{os.getpid()}"
    hospitals = collect(study, divided.data, work / "hospitals", lambda _: None)
    beside = out.resolve().parent
    release = starting_release(study, beside)
    images = load_images(study, release, hospitals, divided.content, beside, work, lambda _: None)
    fold = fold_of(study, study.seed, images, hospitals, release)
    return fold, [fold.rows(ward) for ward in fold.wards]


def run_all(jobs: Sequence[Job], at_once: int) -> Generator[Job]:
    """Run every job, `at_once` at a time, and yield each as it is done; the first fault ends all."""
    if at_once == 1 or len(jobs) == 1:
        try:
            for job in jobs:
                run(job)
                yield job
        finally:
            _fold.cache_clear()
        return
    from multiprocessing import get_context

    threads = max(1, (os.cpu_count() or 1) // at_once)
    started = (threads, jobs[0].out / "run.log")
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn"), initializer=_start, initargs=started) as pool:
        waiting: dict[Future[None], Job] = {pool.submit(run, job): job for job in jobs}
        try:
            for done in as_completed(waiting):
                done.result()
                yield waiting[done]
        finally:
            pool.shutdown(cancel_futures=True)


_FOR_LIFE = ExitStack()


def _start(threads: int, log: Path) -> None:
    """Make a worker that takes its share of the cores, writes to the sweep's log, and never outlives the sweep."""
    import multiprocessing

    import torch

    torch.set_num_threads(threads)
    os.dup2(2, 1)  # standard output is for the sweep's result alone
    _FOR_LIFE.enter_context(run_log(log, None))
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="follow the sweep", daemon=True).start()
