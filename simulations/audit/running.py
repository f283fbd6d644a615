"""An audit from its study to its findings: arms with privacy off and on, attacked in the same ways."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...client.training_set import TrainingSet
from ...privacy import accounting
from ...privacy.events import plan_events
from ..compare.cells import Cell
from ..compare.features import Images, data_hash, load_images
from ..compare.folds import Fold, fold_of, hospitals_of
from ..compare.nodes import plan_of, train
from ..data import Hospital
from ..errors import StudyError, StudyRefusedError
from ..gather import gather
from ..progress import Progress, silent, stage_of
from ..study import Study
from ..training import starting_release
from . import canaries, inversion, mechanism, membership
from .bounds import CONFIDENCE, Vector, one_run_bound
from .inversion import Inversion
from .mechanism import Mechanism
from .membership import Membership

STRICT_DELTA = 1e-5
"""The one-run bound pays 2 x canaries x delta; at many plans' own delta nothing could ever be refuted at 99.9 %, so it
is read at this smaller one too, beside what the accountant says of the same steps there."""
CLEAR = 0.5
"""A lower bound on epsilon from which on it counts as clearly above 0."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is attacked. seeds: canary audits, from the study's seed upwards. trainings: of the membership attack.
    draws: of the mechanism's step on each set. private: whether the arm with privacy is run too."""

    canaries: int = 200
    seeds: int = 1
    trainings: int = 8
    draws: int = 2000
    private: bool = True


@dataclass(frozen=True, slots=True)
class Bound:
    """A one-run lower bound at one delta, and what the accountant claims there (None without privacy)."""

    delta: float
    epsilon: float
    claim: float | None
    guesses: int
    right: int


@dataclass(frozen=True, slots=True, eq=False)
class CanaryRun:
    """One seed's canaries. ledger: what the ledgers were charged at most, None without privacy. bounds: at the plan's
    delta and at STRICT_DELTA. scores and included (m,): for plots."""

    seed: int
    ledger: float | None
    bounds: tuple[Bound, ...]
    scores: Vector
    included: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """What was found with privacy off (mode "none") or on. mechanism: None where there is no noise to test."""

    mode: str
    canaries: tuple[CanaryRun, ...]
    membership: Membership
    mechanism: Mechanism | None

    @property
    def refuted(self) -> bool:
        """Whether any bound exceeds what was claimed."""
        told = [bound for run in self.canaries for bound in run.bounds]
        above = any(bound.claim is not None and bound.epsilon > bound.claim for bound in told)
        return above or (self.mechanism is not None and self.mechanism.refuted)

    @property
    def strict(self) -> tuple[float, ...]:
        """Every seed's bound at STRICT_DELTA."""
        return tuple(run.bounds[-1].epsilon for run in self.canaries)

    @property
    def leaks(self) -> bool:
        """Whether every seed's bound is clearly above 0."""
        return min(self.strict) >= CLEAR


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """A finished audit. confidence: of every lower bound."""

    study: str
    synthetic: bool
    hospitals: tuple[str, ...]
    options: Options
    confidence: float
    arms: tuple[Arm, ...]
    inversion: Inversion
    seconds: float

    @property
    def refuted(self) -> bool:
        """Whether any claim of epsilon is refuted."""
        return any(arm.refuted for arm in self.arms)


def audit_study(study: Study, data: Path | None, out: Path, options: Options, progress: Progress = silent) -> Audit:
    """Attack what `study` trains. data: the study's folder of images (None for phantoms). out: a folder that holds no
    audit yet. Raises StudyError (bad input), StudyRefusedError (the folder), and what production raises."""
    started = time.monotonic()
    _require(study, options)
    if (out / "audit.json").exists():
        raise StudyRefusedError("the folder holds an audit already", where=str(out), fix="choose another --out")
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)
    try:
        with stage_of(progress, "Read the data"):
            first = list(gather(study, data, work / "first", lambda _: None)[0])
        release = starting_release(study, out.resolve().parent)
        with stage_of(progress, "Prepare the images", sum(len(one.truths) for one in first)) as advance:
            content = data_hash(study, data, first)
            images = load_images(study, release, first, content, out.resolve().parent, work, advance)
        arms, inverted = _attacked(study, data, first, images, options, work, progress)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Audit(
        study=study.name,
        synthetic=study.synthetic,
        hospitals=tuple(one.name for one in first),
        options=options,
        confidence=CONFIDENCE,
        arms=arms,
        inversion=inverted,
        seconds=time.monotonic() - started,
    )


def _require(study: Study, options: Options) -> None:
    for value, least, name in (
        (options.canaries, 8, "--canaries"),
        (options.seeds, 1, "--seeds"),
        (options.trainings, 4, "--trainings"),
        (options.draws, 100, "--draws"),
    ):
        if value < least:
            raise StudyError(f"{value} is too few to tell anything", where=name, fix=f"give {least} or more")
    if options.trainings % 2:
        what = f"each patient is in half of the trainings, and {options.trainings} have no half"
        raise StudyError(what, where="--trainings", fix=f"give {options.trainings + 1}")


def _attacked(
    study: Study,
    data: Path | None,
    first: Sequence[Hospital],
    images: Images,
    options: Options,
    work: Path,
    progress: Progress,
) -> tuple[tuple[Arm, ...], Inversion]:
    modes = ["none"] + ([study.plan.mode] if options.private and study.plan.mode != "none" else [])
    beside = work.resolve().parent.parent

    def fold_at(seed: int) -> Fold:
        hospitals = hospitals_of(study, data, seed, work / f"hospitals{seed}", first)
        return fold_of(study, seed, images, hospitals, starting_release(replace(study, seed=seed), beside))

    fold = fold_at(study.seed)
    sets = [fold.rows(ward) for ward in fold.wards]
    cells = [Cell(study.seed, "federated", mode, None if mode == "none" else study.plan.epsilon) for mode in modes]
    arms: list[Arm] = []
    for cell in cells:
        named = "without privacy" if cell.mode == "none" else "with privacy"
        with stage_of(progress, f"Canaries {named}", options.seeds) as advance:
            seeds = range(study.seed, study.seed + options.seeds)
            runs = [_canary_run(fold_at, cell, seed, options, work) for seed in _counted(seeds, advance)]
        with stage_of(progress, f"Membership {named}", options.trainings) as advance:
            found = membership.attack(fold, cell, sets, work / "membership", options.trainings, advance)
        measured = None
        if cell.mode != "none":
            with stage_of(progress, "One step, drawn many times", 2 * options.draws) as advance:
                measured = _mechanism(fold, cell, sets, options, advance)
        arms.append(Arm(cell.mode, tuple(runs), found, measured))
    with stage_of(progress, "Invert single updates", 4) as advance:
        bare = plan_of(fold, Cell(study.seed, "federated"))
        private = plan_of(fold, cells[-1]) if len(cells) > 1 else None
        inverted = inversion.invert(bare, private, fold.release, sets[0], study.seed, advance)
    return tuple(arms), inverted


def _counted(seeds: range, advance: Callable[[int], None]) -> Iterator[int]:
    for done, seed in enumerate(seeds):
        advance(done)
        yield seed
    advance(len(seeds))


def _mechanism(
    fold: Fold, cell: Cell, sets: Sequence[TrainingSet], options: Options, advance: Callable[[int], None]
) -> Mechanism:
    return mechanism.measure(plan_of(fold, cell), fold.release, sets[0], options.draws, cell.seed, advance)


def _canary_run(fold_at: Callable[[int], Fold], like: Cell, seed: int, options: Options, work: Path) -> CanaryRun:
    fold, cell = fold_at(seed), replace(like, seed=seed)
    placed = canaries.make(fold, options.canaries, seed)
    folder = work / f"canaries{seed}"
    trained = train(fold, cell, canaries.planted([fold.rows(ward) for ward in fold.wards], placed), folder)
    shutil.rmtree(folder, ignore_errors=True)
    scores = canaries.scores(placed, fold.release, trained.release)
    own, events = trained.plan.privacy.delta, plan_events(trained.plan)
    bounds: list[Bound] = []
    for delta in (own, min(own, STRICT_DELTA)):
        epsilon, guesses, right = one_run_bound(scores, placed.included, delta)
        claim = trained.epsilon if delta == own else accounting.epsilon(events, delta) if events else None
        bounds.append(Bound(delta, epsilon, claim, guesses, right))
    return CanaryRun(seed, trained.epsilon, tuple(bounds), scores, placed.included)
