"""The parts of a plan as people write them in TOML: the model to start from, the rounds, the privacy budget.

A study and a plan file share these sections; every key is described in the comments of
`simulations/studies/demo.toml`. What is read here lacks only what a file cannot know: the sites, the starting
release's hash and the noise that the budget asks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ..models.card import Architecture, Backbone, InputTransform, ModelCard, Pooling, Weights
from ..models.checkpoint import Release
from ..models.network import build
from ..privacy.accounting import plan_epsilon
from ..privacy.calibration import calibrated_evaluation, calibrated_terms
from ..privacy.plan import (
    EvaluationTerms,
    Gate,
    Mode,
    Plan,
    PlanSite,
    PrivacyTerms,
    Strategy,
    TrainingTerms,
    require_patients,
    require_shared_noise,
)
from ..privacy.recipe import PLAIN, Recipe, Schedule
from ..privacy.subgroups import SubgroupGate, parsed
from ..task import Finding, Task
from ..toml_table import Table

_WEIGHTS: tuple[Weights, ...] = ("random", "packaged", "torchvision")


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """The starting release: its architecture and the transform of its inputs."""

    architecture: Architecture
    transform: InputTransform

    def release(self, task: Task, seed: int) -> Release:
        """A fresh release for `task`; random weights follow from `seed`."""
        net = build(self.architecture, len(task.findings), seed)
        return Release.of(net, ModelCard(task, self.architecture, self.transform, (1.0,) * len(task.findings)))


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """The plan before sites and noise are known; see privacy.plan for the meaning of each.

    epsilon_cap: of a simulated site's own ledger. finding_weights: one for each finding. spare_rounds: attempts beyond
    the rounds that the noise is calibrated for, since a round attempted again is charged again. evaluation_bins: 0
    asks for no evaluation; evaluation_every, evaluation_minimum (patients), gate: see EvaluationTerms.
    """

    rounds: int
    local_steps: int
    learning_rate: float
    momentum: float
    strategy: Strategy
    proximal: float
    finding_weights: tuple[float, ...]
    region_weight: float
    augmentation: bool
    server_learning_rate: float
    server_beta1: float
    server_beta2: float
    server_tau: float
    quorum: int
    evaluation_bins: int
    mode: Mode
    epsilon: float
    epsilon_cap: float
    delta: float
    clip: float
    sampling_rate: float
    patient_images: Literal["mean", "one"]
    max_noise_multiplier: float
    server_momentum: float = 0.0
    colluding: int = 0
    recipe: Recipe = PLAIN
    spare_rounds: int = 0
    evaluation_every: int = 0
    evaluation_minimum: int = 1
    gate: Gate | None = None

    def training(self) -> TrainingTerms:
        """The plan's training terms; PlanError for values that do not go together."""
        return TrainingTerms(
            strategy=self.strategy,
            local_steps=self.local_steps,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            proximal=self.proximal,
            finding_weights=self.finding_weights,
            region_weight=self.region_weight,
            augmentation=self.augmentation,
            server_learning_rate=self.server_learning_rate,
            server_beta1=self.server_beta1,
            server_beta2=self.server_beta2,
            server_tau=self.server_tau,
            server_momentum=self.server_momentum,
            recipe=self.recipe,
        )

    def privacy(self, nominal: Sequence[int]) -> PrivacyTerms:
        """The privacy terms with calibrated noise, for sites that declare `nominal` patients.

        PlanError, with the figures that would work, when a site declares fewer than LEAST_PATIENTS, delta is not below
        the inverse of the largest count, or the noise would be above the maximum.
        """
        if self.mode != "none":
            require_patients(nominal)
        return calibrated_terms(
            epsilon=self.epsilon,
            delta=self.delta,
            clip=self.clip,
            sampling_rate=self.sampling_rate,
            steps=(self.rounds + self.spare_rounds) * self.local_steps,
            max_noise_multiplier=self.max_noise_multiplier,
            patient_images=self.patient_images,
            mode=self.mode,
            patients=max(nominal),
            quorum=self.quorum,
            colluding=self.colluding,
        )

    def plan(
        self,
        *,
        consortium: str,
        name: str,
        task: Task,
        release: Release,
        sites: Sequence[PlanSite],
        privacy: PrivacyTerms,
        seed: int,
    ) -> Plan:
        """The whole plan; PlanError where its parts do not go together, UnaccountableError where it costs more than it
        states or no site could account for it: what every node checks before it agrees."""
        plan = Plan(
            consortium=consortium,
            name=name,
            task=task,
            release=release.hash,
            sites=tuple(sites),
            quorum=self.quorum,
            rounds=self.rounds,
            training=self.training(),
            privacy=privacy,
            evaluation=self.evaluation(privacy, len(task.findings)),
            seed=seed,
        )
        plan_epsilon(plan)
        return plan

    def evaluation(self, privacy: PrivacyTerms, findings: int) -> EvaluationTerms | None:
        """What is asked about held-out patients, with noise calibrated to the plan's budget; None for nothing."""
        if self.evaluation_bins == 0:
            return None
        return calibrated_evaluation(
            privacy,
            findings=findings,
            rounds=self.rounds,
            quorum=self.quorum,
            bins=self.evaluation_bins,
            every=self.evaluation_every,
            minimum_patients=self.evaluation_minimum,
            gate=self.gate,
        )


def read_findings(table: Table) -> tuple[Finding, ...]:
    """What one [[task.findings]] asks for: a finding, or with `sides` one for each side, under keys of their own."""
    with table.checked("key"):
        finding = Finding(table.text("key"), table.text("scheme"), table.text("code"), table.text("meaning"))
    with table.checked("sides"):
        return finding.of_sides(table.texts("sides", ()))


def read_model(table: Table) -> ModelTerms:
    """The section [model]."""
    backbone = cast(Backbone, table.text("backbone", "small", choices=get_args(Backbone)))
    pretrained = backbone == "efficientnet_lite0"
    weights = cast(Weights, table.text("weights", "packaged" if pretrained else "random", choices=_WEIGHTS))
    frozen = table.flag("frozen", pretrained)
    width = table.whole("width", 32)
    pooling = cast(Pooling, table.text("pooling", "lse", choices=get_args(Pooling)))
    sharpness = table.number("sharpness", 4.0)
    trained_blocks = table.whole("trained_blocks", 0)
    exclusive, bias = table.flag("exclusive", False), table.flag("bias", True)
    fine, centred = table.flag("fine", False), table.flag("centred", False)
    with table.checked("backbone"):
        architecture = Architecture(
            backbone, weights, frozen, width, pooling, sharpness, trained_blocks, exclusive, bias, fine, centred
        )
    size = table.whole("size", 192)
    mean, std = table.number("mean", 0.0 if pretrained else 0.5), table.number("std", 1.0 if pretrained else 0.25)
    with table.checked("size"):
        transform = InputTransform(size, mean, std)
    table.done()
    return ModelTerms(architecture, transform)


def read_plan(table: Table, findings: int, simulated: bool) -> PlanTerms:
    """The section [plan] with [plan.privacy].

    simulated: a study may also ask for no privacy (and then for exact evaluation) and for its sites' own cap
    (epsilon_cap), and sum over as few sites as it likes; hospitals' nodes allow none of this.
    """
    privacy = table.table("privacy")
    weights = table.numbers("finding_weights", ())
    if weights and len(weights) != findings:
        raise table.fault("finding_weights", f"{len(weights)} weights for {findings} findings", "give one for each")
    modes: tuple[Mode, ...] = ("local", "distributed", "none") if simulated else ("local", "distributed")
    mode = cast(Mode, privacy.text("mode", "local", choices=modes))
    epsilon = privacy.number("epsilon", 8.0)
    rounds = table.whole("rounds", 10, low=1, high=10_000)
    terms = PlanTerms(
        rounds=rounds,
        local_steps=table.whole("local_steps", 1, low=1, high=10_000),
        learning_rate=table.number("learning_rate", 0.1),
        momentum=table.number("momentum", 0.0, high=0.999),
        strategy=cast(Strategy, table.text("strategy", "fedavg", choices=("fedavg", "fedprox", "fedadam"))),
        proximal=table.number("proximal", 0.0),
        finding_weights=weights or (1.0,) * findings,
        region_weight=table.number("region_weight", 1.0),
        augmentation=table.flag("augmentation", False),
        server_learning_rate=table.number("server_learning_rate", 1.0),
        server_beta1=table.number("server_beta1", 0.9, high=0.999),
        server_beta2=table.number("server_beta2", 0.99, high=0.9999),
        server_tau=table.number("server_tau", 1e-3, low=1e-12),
        server_momentum=table.number("server_momentum", 0.0, high=0.999),
        quorum=table.whole("quorum", 1, low=1) if simulated else table.whole("quorum", low=3),
        # Every cell has noise of its own, so noised histograms are coarse and few.
        evaluation_bins=table.whole("evaluation_bins", (100 if mode == "none" else 20) if simulated else 0, high=1000),
        evaluation_every=table.whole("evaluation_every", 1 if mode == "none" else 0, high=10_000),
        evaluation_minimum=table.whole("evaluation_minimum", 1 if simulated else 20, low=1),
        gate=_read_gate(table),
        mode=mode,
        epsilon=epsilon,
        epsilon_cap=privacy.number("epsilon_cap", epsilon) if simulated else epsilon,
        delta=privacy.number("delta", 1e-5, high=1.0),
        clip=privacy.number("clip", 1.0),
        sampling_rate=privacy.number("sampling_rate", 1.0, high=1.0),
        patient_images=cast(Literal["mean", "one"], privacy.text("patient_images", "mean", choices=("mean", "one"))),
        max_noise_multiplier=privacy.number("max_noise_multiplier", 100.0),
        colluding=privacy.whole("colluding", 0) if mode == "distributed" else 0,
        recipe=_read_recipe(table.table("recipe", required=False)),
        # Over a real network now and then a round has to be attempted again; in simulation none does.
        spare_rounds=table.whole("spare_rounds", 0 if simulated else math.ceil(rounds / 10), high=10_000),
    )
    if mode == "distributed":
        with table.checked("privacy.mode"):
            require_shared_noise(terms.training(), rounds, terms.quorum, terms.colluding)
    privacy.done()
    table.done()
    return terms


def _read_gate(table: Table) -> Gate | None:
    """The keys gate_max_fall, gate_tolerated and those of subgroups; without the first there is no gate."""
    if not table.has("gate_max_fall"):
        return None
    fall, tolerated = table.number("gate_max_fall", high=0.99), table.whole("gate_tolerated", 0)
    if not table.has("gate_subgroups"):
        return Gate(fall, tolerated)
    with table.checked("gate_subgroups"):
        groups = tuple(group for text in table.texts("gate_subgroups") for group in parsed(text))
        subgroups = SubgroupGate(
            groups,
            max_fall=table.number("gate_subgroup_max_fall", fall, high=1.0),
            floor=table.number("gate_subgroup_floor", 0.0, high=0.99),
            minimum_patients=table.whole("gate_subgroup_minimum", 20, low=1),
            bins=table.whole("gate_subgroup_bins", 8, low=2, high=1000),
        )
    return Gate(fall, tolerated, subgroups)


def _read_recipe(table: Table) -> Recipe:
    """The section [plan.recipe]."""
    with table.checked("final_clip"):
        recipe = Recipe(
            schedule=cast(Schedule, table.text("schedule", PLAIN.schedule, choices=get_args(Schedule))),
            clip_schedule=cast(Schedule, table.text("clip_schedule", PLAIN.clip_schedule, choices=get_args(Schedule))),
            final_clip=table.number("final_clip", PLAIN.final_clip, low=1e-6, high=1.0),
            averaging=table.number("averaging", PLAIN.averaging, high=0.9999),
            views=table.whole("views", PLAIN.views, low=1, high=64),
            normalised=table.flag("normalised", PLAIN.normalised),
            corrected=table.flag("corrected", PLAIN.corrected),
            centring=table.whole("centring", PLAIN.centring),
        )
    table.done()
    return recipe
