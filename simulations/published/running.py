"""A check from its study to its figures: the comparison's federation on arrays, scored on the published test set."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...models.checkpoint import Release, save
from ...models.parameters import to_vector
from ...server.atomic import replace_file
from ...server.progress import Event, RoundFinished
from ..compare.cells import Cell
from ..compare.nodes import train
from ..errors import StudyError, StudyRefusedError
from ..outcome import versions
from ..pretraining import framed
from ..progress import Progress, silent, stage_of
from ..results import Estimate
from ..scoring import run_model
from ..study import Study
from ..terms import ArrayData
from ..training import starting_release
from .arrays import Arrays, fold_of, read_arrays

SCHEMA = "medquorum.published/1"
REPORT = "published.json"


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One seed. accuracy: share of test images whose likeliest finding is theirs, with its 95 % interval by image
    (Wilson 1927); before: of the starting model. epsilon: what the ledgers were charged at most (None: no privacy),
    as noise_multiplier. release: the trained model's hash in hex."""

    seed: int
    accuracy: Estimate
    before: Estimate
    epsilon: float | None
    noise_multiplier: float | None
    plan: str
    release: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Check:
    """The whole check: what was trained, how, and each seed's result."""

    study: str
    mode: str
    delta: float
    hospitals: int
    images: int
    test_images: int
    parameters: int
    rounds: int
    sampled: float
    seeds: tuple[SeedResult, ...]

    @property
    def mean(self) -> float:
        """The seeds' mean accuracy."""
        return float(np.mean([one.accuracy.value for one in self.seeds]))

    def dump(self) -> str:
        """The check as the text of published.json, ending with a newline."""
        document = {"schema": SCHEMA, **asdict(self), "mean": self.mean, "versions": dict(versions())}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def check(study: Study, data: Path, out: Path, seeds: int = 1, progress: Progress = silent) -> Check:
    """Train the study's federation on its arrays for each seed, from the study's own upwards, and score it.

    data: the folder with the arrays. out: a folder for the releases and published.json; made if missing, refused if
    it holds a check. Raises StudyError (bad input), StudyRefusedError (the folder), and what production raises.
    """
    if (out / REPORT).exists():
        raise StudyRefusedError("the folder holds a check already", where=str(out), fix="choose another --out")
    with stage_of(progress, "Read the data"):
        arrays = read_arrays(study, data)
    if study.plan.quorum > len(study.sites.names):
        raise StudyError(
            f"a quorum of {study.plan.quorum} out of {len(study.sites.names)} hospitals",
            where=f"{study.file}, plan.quorum",
            fix=f"choose 1 to {len(study.sites.names)}",
        )
    out.mkdir(parents=True, exist_ok=True)
    found: list[SeedResult] = []
    parameters = 0
    for seed in range(study.seed, study.seed + seeds):
        result, parameters = _seed(replace(study, seed=seed), arrays, out, progress)
        found.append(result)
    made = Check(
        study=study.name,
        mode=study.plan.mode,
        delta=study.plan.delta,
        hospitals=len(study.sites.names),
        images=len(arrays.labels),
        test_images=len(arrays.test_labels),
        parameters=parameters,
        rounds=study.plan.rounds,
        sampled=study.plan.sampling_rate * len(arrays.labels),
        seeds=tuple(found),
    )
    replace_file(out / REPORT, made.dump().encode())
    return made


def _seed(study: Study, arrays: Arrays, out: Path, progress: Progress) -> tuple[SeedResult, int]:
    began = time.monotonic()
    with stage_of(progress, f"Make the starting model, seed {study.seed}"):
        release = starting_release(study, out.resolve().parent)
    fold = fold_of(study, arrays, release)
    private = study.plan.mode != "none"
    cell = Cell(study.seed, "federated", study.plan.mode, study.plan.epsilon if private else None)
    with stage_of(progress, f"Train together, seed {study.seed}", study.plan.rounds) as advance:
        trained = train(
            fold, cell, [fold.rows(ward) for ward in fold.wards], out / f"seed{study.seed}", _watch(advance)
        )
    save(trained.release, out / f"release-seed{study.seed}")
    result = SeedResult(
        seed=study.seed,
        accuracy=_accuracy(trained.release, arrays, study),
        before=_accuracy(release, arrays, study),
        epsilon=trained.epsilon,
        noise_multiplier=trained.plan.privacy.noise_multiplier if private else None,
        plan=trained.plan.hash.hex(),
        release=trained.release.hash.hex(),
        seconds=time.monotonic() - began,
    )
    return result, int(to_vector(release.network().trainable()).numel())


def _watch(advance: Callable[[int], None]) -> Callable[[Event], None]:
    def watch(event: Event) -> None:
        if isinstance(event, RoundFinished):
            advance(event.log.round)

    return watch


def _accuracy(release: Release, arrays: Arrays, study: Study) -> Estimate:
    assert isinstance(study.data, ArrayData)
    inputs = framed(arrays.test_images.astype(np.float32) / np.float32(255.0), release)
    logits, _ = run_model(release, inputs)
    said: NDArray[np.int64] = np.array(study.data.values)[logits.argmax(axis=1)]
    return wilson(int((said == arrays.test_labels).sum()), len(said))


def wilson(hits: int, count: int) -> Estimate:
    """A share of `count` > 0 with its 95 % interval (Wilson 1927)."""
    z, share = 1.959964, hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return Estimate(share, middle - half, middle + half)
