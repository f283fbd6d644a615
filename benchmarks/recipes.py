"""What each recipe option gives under equal epsilon: the settings of the bundled studies beside one change at a time.

Two tables, which --part tells apart. "head": a linear head on frozen features of real radiographs (cxr_adult, where
../shared/data or $MEDQUORUM_DATA holds it, else phantoms). "network": a small network trained from phantom images on.
Every training is a whole federation, real nodes and coordinator, shared noise, epsilon 3. "Ours" is the AUROC on
patients never trained on with the settings as they are, "alternative" with the change; the ratio is below 1 where the
settings are better as they are. One change in each table is none at all: the same settings under other noise, so that
a reader sees how far chance alone moves a figure.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from _harness import Cell, main, say

from medquorum.models import multiscale
from medquorum.models.small import StandardisedConv2d
from medquorum.privacy.recipe import PLAIN
from medquorum.simulations.compare.cells import Cell as Training
from medquorum.simulations.compare.features import data_hash, load_images
from medquorum.simulations.compare.folds import Fold, fold_of, hospitals_of
from medquorum.simulations.compare.nodes import study_of, train
from medquorum.simulations.data import collect
from medquorum.simulations.scoring import mean_auroc, run_model
from medquorum.simulations.study import Study, bundled, load_study
from medquorum.simulations.terms import Pretraining
from medquorum.simulations.training import starting_release

EPSILON = 3.0
# Seeds on which settings may be chosen: no table of docs/results.md uses them.
SEEDS = (101, 102)
PHANTOMS = Pretraining("phantoms", ("consolidation",), 200, 20, 0.003)

NETWORK = """
[study]
name = "recipes"
seed = 101
[data]
kind = "phantoms"
[[data.hospitals]]
name = "One"
patients = {patients}
vendor = "aurora"
visibility = 1.5
prevalence = {{ consolidation = 0.5 }}
[[data.hospitals]]
name = "Two"
patients = {patients}
vendor = "borealis"
visibility = 1.5
prevalence = {{ consolidation = 0.5 }}
[task]
modality = "CR"
body_part = "CHEST"
[[task.findings]]
key = "consolidation"
scheme = "SCT"
code = "95436008"
meaning = "Lung consolidation"
[model]
backbone = "{backbone}"
width = 16
size = 64
pooling = "mean"
[pretraining]
kind = "phantoms"
shows = ["consolidation"]
images = {images}
epochs = 10
learning_rate = 0.004
[plan]
rounds = 20
learning_rate = 0.01
server_momentum = 0.8
region_weight = 0.0
quorum = 2
evaluation_bins = 0
[plan.privacy]
mode = "distributed"
epsilon = 3.0
delta = 0.001
clip = 0.5
"""

NOTES = [
    "AUROC: mean over seeds 101 and 102 (with --quick 101 alone), which no table of docs/results.md uses; each divides "
    "the patients anew among hospitals, holds out others and draws other noise",
    "all at epsilon 3 in mode distributed; noise is calibrated anew where a change alters the steps",
    "spread: smallest and largest ratio of the seeds",
]


@dataclass(frozen=True)
class Change:
    """One change of a study. plan, recipe, architecture: fields to replace; study: any other; patched: what it needs
    held while images are looked at and the network is trained; noise: what is added to the seed of the noise."""

    name: str
    plan: dict[str, Any] = field(default_factory=dict[str, Any])
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    architecture: dict[str, Any] = field(default_factory=dict[str, Any])
    study: dict[str, Any] = field(default_factory=dict[str, Any])
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext
    noise: int = 0

    def of(self, study: Study) -> Study:
        recipe = replace(study.plan.recipe, **self.recipe)
        architecture = replace(study.model.architecture, **self.architecture)
        return replace(
            study,
            plan=replace(study.plan, recipe=recipe, **self.plan),
            model=replace(study.model, architecture=architecture),
            **self.study,
        )


AS_IT_IS = Change("as it is")
BY_CHANCE = Change("the same settings, other noise", noise=1000)


def head_changes(study: Study, quick: bool) -> list[Change]:
    rate, clip = study.plan.learning_rate, study.plan.clip
    plain = {field: getattr(PLAIN, field) for field in ("schedule", "averaging", "normalised")}
    changes = [
        Change("learning rate falls along a cosine", recipe={**plain, "schedule": "cosine"}),
        Change("clip twice as large", plan={"clip": 2 * clip, "learning_rate": rate / 2}),
    ]
    if quick:
        return changes
    return [
        BY_CHANCE,
        *changes,
        Change("learning rate falls linearly", recipe={**plain, "schedule": "linear"}),
        Change("clip half as large", plan={"clip": clip / 2, "learning_rate": 2 * rate}),
        Change("clip falls linearly to a fifth", recipe={"clip_schedule": "linear", "final_clip": 0.2}),
        Change("normalised gradients in place of cut ones", recipe={"normalised": True}),
        Change("no momentum", plan={"server_momentum": 0.0, "learning_rate": rate / (1 - study.plan.server_momentum)}),
        Change("learning rate half as large", plan={"learning_rate": rate / 2}),
        Change("learning rate twice as large", plan={"learning_rate": 2 * rate}),
        Change("Adam, rate 0.2", plan=_adam(0.2)),
        Change("Adam, rate 0.05", plan=_adam(0.05)),
        Change("Adam, rate 0.2, second moment corrected for noise", plan=_adam(0.2), recipe={"corrected": True}),
        Change("head with a bias", architecture={"bias": True}),
        Change("running mean of models, weight 0.8", recipe={"averaging": 0.8}),
        Change("half the steps", plan={"rounds": study.plan.rounds // 2}),
        Change("twice the steps", plan={"rounds": 2 * study.plan.rounds}),
        Change("features not standardised", patched=lambda: patch.object(multiscale, "_standardise", _as_they_are)),
        Change("head pre-trained on phantoms", study={"pretraining": PHANTOMS}),
        Change("features not seen from the cohort's mean", **_uncentred(study)),
        Change("the mean found in one round in place of two", recipe={"centring": 1}),
        # Far more parameters share the clip, and the noise on each is the same: only a small rate keeps their norm.
        Change(
            "last block of the backbone trained too, a fortieth of the rate",
            architecture={"trained_blocks": 1, "centred": False},
            recipe={"centring": 0},
            plan={"learning_rate": rate / 40},
        ),
    ]


def _uncentred(study: Study) -> dict[str, dict[str, Any]]:
    return {
        "architecture": {"centred": False},
        "recipe": {"centring": 0},
        "plan": {"rounds": study.plan.rounds - study.plan.recipe.centring},
    }


def network_changes(study: Study, quick: bool) -> list[Change]:
    views = Change("4 views of each image", plan={"augmentation": True}, recipe={"views": 4})
    if quick:
        return [views]
    return [
        BY_CHANCE,
        views,
        Change("1 view of each image, at random", plan={"augmentation": True}),
        Change("no pre-training on phantoms", study={"pretraining": None}),
        Change(
            "kernels not standardised", patched=lambda: patch.object(StandardisedConv2d, "effective_weight", _kernel)
        ),
        Change("normalised gradients in place of cut ones", recipe={"normalised": True}),
    ]


def _adam(rate: float) -> dict[str, Any]:
    return {"strategy": "fedadam", "server_momentum": 0.0, "server_learning_rate": rate, "server_tau": 1e-3}


def _as_they_are(x: Any) -> Any:
    return x


def _kernel(self: StandardisedConv2d, weight: Any) -> Any:
    return weight


class Table:
    """A study and its changes, each trained and scored on every seed once."""

    def __init__(self, name: str, study: Study, data: Path | None, place: Path, seeds: Sequence[int]) -> None:
        self._name, self._data, self._place, self._seeds = name, data, place, seeds
        # The settings that the study has for this mode and epsilon become its own, so that a change is one of them.
        chosen = study_of(study, "distributed", EPSILON)
        self.study = replace(chosen, compare=replace(chosen.compare, settings=()))
        self._trainings = 0

    def cells(self, changes: Sequence[Change]) -> list[Cell]:
        ours = self._aurocs(AS_IT_IS)
        say(f"{self._name}: {statistics.mean(ours):.4f} as it is")
        return [self._cell(change, ours) for change in changes]

    def _cell(self, change: Change, ours: Sequence[float]) -> Cell:
        theirs = self._aurocs(change)
        ratios = [other / own for own, other in zip(ours, theirs, strict=True)]
        say(f"{self._name}: {statistics.mean(theirs):.4f} {change.name}")
        return Cell(
            case=f"{self._name}: {change.name}",
            ours=statistics.mean(ours),
            alternative=statistics.mean(theirs),
            alternative_name=change.name,
            unit="AUROC",
            ratio=statistics.mean(theirs) / statistics.mean(ours),
            runs=len(self._seeds),
            spread=(min(ratios), max(ratios)),
        )

    def _aurocs(self, change: Change) -> list[float]:
        with change.patched():
            return [self._auroc(change, seed) for seed in self._seeds]

    def _auroc(self, change: Change, seed: int) -> float:
        self._trainings += 1
        study = replace(change.of(self.study), seed=seed)
        fold = self._fold(
            study, self._place / (f"patched-{change.name}" if change.patched is not nullcontext else "plain")
        )
        # Whatever draws noise takes the fold's seed; the patients are divided by now.
        fold = replace(fold, study=replace(fold.study, seed=seed + change.noise))
        work = self._place / f"training-{self._trainings}"
        cell = Training(seed, "federated", "distributed", EPSILON)
        trained = train(fold, cell, [fold.rows(ward) for ward in fold.wards], work)
        shutil.rmtree(work)
        logits, _ = run_model(trained.release, fold.inputs[fold.test])
        found = mean_auroc(logits, fold.truth[fold.test])
        assert found is not None
        return found

    def _fold(self, study: Study, beside: Path) -> Fold:
        """The seed's fold; images are looked at once for all seeds and changes that see the same of them."""
        beside.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=self._place))
        first = list(collect(replace(study, seed=SEEDS[0]), self._data, work / "first", lambda _: None))
        release = starting_release(study, beside)
        content = data_hash(replace(study, seed=SEEDS[0]), self._data, first)
        images = load_images(study, release, first, content, beside, work / "features", lambda _: None)
        if study.seed != SEEDS[0]:
            first = hospitals_of(study, self._data, study.seed, work / "hospitals", first)
        return fold_of(study, study.seed, images, first, release)


def measure_head(quick: bool) -> list[Cell]:
    root = Path(os.environ.get("MEDQUORUM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    with tempfile.TemporaryDirectory(prefix="medquorum-recipes-") as folder:
        place = Path(folder)
        study, data = load_study(bundled("cxr_adult")), root / "cxr_adult"
        if quick or not data.is_dir():
            say(f"a head on features of phantoms: {'--quick' if quick else f'{data} is not there'}")
            study, data = _phantoms(place / "head.toml", "efficientnet_lite0", 12 if quick else 100, 0), None
        table = Table(study.name if data else "head on phantoms", study, data, place / "head", _seeds(quick))
        return table.cells(head_changes(table.study, quick))


def measure_network(quick: bool) -> list[Cell]:
    with tempfile.TemporaryDirectory(prefix="medquorum-recipes-") as folder:
        place = Path(folder)
        study = _phantoms(place / "network.toml", "small", 12 if quick else 150, 40 if quick else 1000)
        table = Table("small network on phantoms", study, None, place / "network", _seeds(quick))
        return table.cells(network_changes(table.study, quick))


def _seeds(quick: bool) -> Sequence[int]:
    return SEEDS[:1] if quick else SEEDS


def _phantoms(file: Path, backbone: str, patients: int, images: int) -> Study:
    file.write_text(NETWORK.format(backbone=backbone, patients=patients, images=max(1, images)))
    study = load_study(file)
    if backbone == "small":
        return study
    # What suits unit features: small clips, large rates.
    plan = replace(study.plan, clip=0.1, learning_rate=20.0)
    return replace(study, plan=plan, pretraining=None)


if __name__ == "__main__":
    main("recipes", __doc__ or "", {"head": measure_head, "network": measure_network}, NOTES)
