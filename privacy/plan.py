"""A plan: one run of the federation, declared in full before any site agrees to it.

A plan is data. No code travels in it, and everything that a guarantee rests on (counts, weights, clip, noise) is
public and in it, so that a site can compute what taking part would cost before it countersigns the plan's hash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from ..task import Task
from . import wire
from .errors import PlanError
from .recipe import PLAIN, Recipe
from .subgroups import SubgroupGate

LEAST_PATIENTS = 4
"""Training patients of a site in a private plan. At fewer, the noise on the mean gradient is longer than anything that
the patients' clipped gradients can say at every epsilon that is worth the name, and whoever knows all but one of them
knows nearly the whole site."""

Mode = Literal["none", "local", "distributed"]
Strategy = Literal["fedavg", "fedprox", "fedadam"]


def _floats(terms: PrivacyTerms | TrainingTerms | EvaluationTerms | Gate) -> None:
    """Turn whole numbers given for real ones into floats, so that equal terms have one encoding and one hash."""
    for field in fields(terms):
        if field.type == "float":
            object.__setattr__(terms, field.name, float(getattr(terms, field.name)))


def _require(holds: bool, what: str, fix: str) -> None:
    if not holds:
        raise PlanError(what, where="plan", fix=fix)


@dataclass(frozen=True, slots=True)
class PlanSite:
    """A site by name and its declared, rounded numbers of patients, the only counts of it that are ever public.

    patients: to train on. held_out: kept for evaluation, 0 where the site declares none.
    """

    name: str
    patients: int
    held_out: int = 0

    def __post_init__(self) -> None:
        _require(bool(self.name), "a site has no name", "name every site")
        _require(self.patients >= 1, f"site {self.name!r} declares {self.patients} patients", "declare at least 1")
        _require(self.held_out >= 0, f"site {self.name!r} holds out {self.held_out} patients", "declare 0 or more")


@dataclass(frozen=True, slots=True)
class PrivacyTerms:
    """Patient-level differential privacy of each site's update, under adding or removing one patient.

    mode: "local" makes each site's update private by itself. "distributed": each site adds a share of the noise, and
    only the sum over at least the plan's quorum is private (see distributed). "none" adds nothing and runs only in
    simulation.
    epsilon, delta: the cap for the whole plan, per site. clip: bound C > 0 on one patient's gradient norm, at the first
    step where the recipe lets it fall.
    noise_multiplier: standard deviation of the noise on the clipped sum, divided by C. In mode "distributed" of what
    `colluding` sites cannot take away from the sum over the quorum.
    max_noise_multiplier: above it training is pointless and the plan is refused.
    sampling_rate: 1.0 takes every patient at every step; below 1.0 each patient is drawn independently (Poisson).
    patient_images: a patient's gradient is that of the "mean" over their images, or of "one" drawn at random.
    colluding: in mode "distributed", how many sites may tell the coordinator their shares of the noise without
    weakening the stated epsilon; 0 in the other modes, where it does not matter.
    """

    mode: Mode
    epsilon: float
    delta: float
    clip: float
    noise_multiplier: float
    max_noise_multiplier: float
    sampling_rate: float
    patient_images: Literal["mean", "one"]
    relation: Literal["add_or_remove_one_patient"] = "add_or_remove_one_patient"
    colluding: int = 0

    def __post_init__(self) -> None:
        _floats(self)
        _require(0.0 < self.sampling_rate <= 1.0, f"sampling_rate is {self.sampling_rate}", "choose it in (0, 1]")
        _require(self.clip > 0.0 and math.isfinite(self.clip), f"clip is {self.clip}", "choose a clip above 0")
        _require(self.colluding >= 0, f"colluding is {self.colluding}", "state 0 or more colluding sites")
        _require(
            self.colluding == 0 or self.mode == "distributed",
            f"mode {self.mode!r} with {self.colluding} colluding sites",
            "leave colluding out: only in mode 'distributed' does the noise of others count",
        )
        if self.mode == "none":
            return
        _require(self.epsilon > 0.0, f"epsilon is {self.epsilon}", "choose an epsilon above 0, or mode 'none'")
        _require(0.0 < self.delta < 1.0, f"delta is {self.delta}", "choose a delta well below 1/patients")
        _require(self.noise_multiplier > 0.0, "the noise multiplier is 0", "calibrate it from epsilon and delta")
        _require(
            self.noise_multiplier <= self.max_noise_multiplier,
            f"a noise multiplier of {self.noise_multiplier:.4g} is above the plan's maximum of "
            f"{self.max_noise_multiplier:.4g}",
            "raise epsilon, lower rounds or local_steps, or raise max_noise_multiplier",
        )


@dataclass(frozen=True, slots=True)
class TrainingTerms:
    """How each site trains in a round, and how the coordinator applies the sum.

    local_steps: optimiser steps a site makes in a round. learning_rate, momentum: of the site's SGD.
    proximal: FedProx's mu, added after clip and noise (0 for none). finding_weights: weight of a positive label
    for each finding. region_weight: weight of the region loss beside the finding loss. augmentation: whether images
    are mirrored and shifted at random while training. server_*: FedAdam's settings; server_learning_rate also
    scales the mean update of FedAvg and FedProx, and server_momentum is FedAvg's (heavy ball over the rounds).
    recipe: schedules, averaging, views and normalisation (see Recipe).
    """

    strategy: Strategy
    local_steps: int
    learning_rate: float
    momentum: float
    proximal: float
    finding_weights: tuple[float, ...]
    region_weight: float
    augmentation: bool
    server_learning_rate: float
    server_beta1: float
    server_beta2: float
    server_tau: float
    server_momentum: float = 0.0
    recipe: Recipe = PLAIN

    def __post_init__(self) -> None:
        _floats(self)
        object.__setattr__(self, "finding_weights", tuple(float(weight) for weight in self.finding_weights))
        _require(self.local_steps >= 1, f"local_steps is {self.local_steps}", "make at least one step a round")
        _require(self.learning_rate > 0.0, f"learning_rate is {self.learning_rate}", "choose one above 0")
        _require(0.0 <= self.momentum < 1.0, f"momentum is {self.momentum}", "choose it in [0, 1)")
        _require(self.proximal >= 0.0, f"proximal is {self.proximal}", "choose it at or above 0")
        _require(self.region_weight >= 0.0, f"region_weight is {self.region_weight}", "choose it at or above 0")
        _require(self.server_learning_rate > 0.0, "server_learning_rate is not above 0", "choose one above 0")
        _require(
            0.0 <= self.server_beta1 < 1.0 and 0.0 <= self.server_beta2 < 1.0,
            "server_beta1 or server_beta2 is outside [0, 1)",
            "choose both in [0, 1)",
        )
        _require(0.0 <= self.server_momentum < 1.0, f"server_momentum is {self.server_momentum}", "choose it in [0, 1)")
        _require(
            self.server_momentum == 0.0 or self.strategy == "fedavg",
            f"{self.strategy} with server_momentum",
            "use fedavg, or server_momentum 0 (fedadam has server_beta1)",
        )
        _require(self.server_tau > 0.0, f"server_tau is {self.server_tau}", "choose it above 0")
        _require(
            self.recipe.views == 1 or self.augmentation,
            f"{self.recipe.views} views of each image without augmentation are all the same",
            "set augmentation, or take 1 view",
        )
        _require(
            not self.recipe.corrected or self.strategy == "fedadam",
            f"{self.strategy} has no second moment to correct for noise",
            "use fedadam, or leave corrected out",
        )
        _require(all(w > 0.0 for w in self.finding_weights), "a finding weight is not above 0", "choose it above 0")
        if self.strategy == "fedprox":
            _require(self.proximal > 0.0, "fedprox without a proximal term", "set proximal above 0, or use fedavg")
        else:
            _require(self.proximal == 0.0, f"{self.strategy} with a proximal term", "use fedprox, or proximal 0")


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition on the final release: each asked site judges its own held-out patients and gives no more than a vote.

    max_fall: how far a site's AUROC (the mean over findings) may fall below the starting release's. tolerated: how many
    sites may vote against the release; with one more it is gated. subgroups: what else a site judges before its one
    vote, None for nothing.
    """

    max_fall: float
    tolerated: int
    subgroups: SubgroupGate | None = None

    def __post_init__(self) -> None:
        _floats(self)
        _require(0.0 <= self.max_fall < 1.0, f"a gate's max_fall is {self.max_fall}", "choose it in [0, 1)")
        _require(self.tolerated >= 0, f"a gate tolerates {self.tolerated} sites", "tolerate 0 or more")


@dataclass(frozen=True, slots=True)
class EvaluationTerms:
    """What is asked about held-out patients, and how it is hidden (see evaluation).

    bins: of equal width over [0, 1], in each histogram. every: rounds between two evaluations; the starting release
    and the last round's are always evaluated, and with 0 only they. noise_multiplier: standard deviation of the noise
    over the sensitivity, calibrated; mode "none" adds none. In mode "distributed" of what `colluding` sites cannot take
    away from the sum over the quorum. minimum_patients: a site that declares fewer held-out patients is not asked.
    """

    bins: int
    every: int
    noise_multiplier: float
    minimum_patients: int = 1
    gate: Gate | None = None

    def __post_init__(self) -> None:
        _floats(self)
        _require(2 <= self.bins <= 1000, f"evaluation in {self.bins} bins", "choose 2 to 1000")
        _require(self.every >= 0, f"an evaluation every {self.every} rounds", "choose 0 or more")
        _require(
            self.noise_multiplier >= 0.0 and math.isfinite(self.noise_multiplier),
            f"the evaluation's noise multiplier is {self.noise_multiplier}",
            "calibrate it from epsilon and delta",
        )
        _require(self.minimum_patients >= 1, f"minimum_patients is {self.minimum_patients}", "choose 1 or more")

    def due(self, round: int, rounds: int) -> bool:
        """Whether the model after `round` (0: the starting release) of `rounds` is evaluated."""
        return round in (0, rounds) or (0 < round < rounds and self.every > 0 and round % self.every == 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, declared: task, starting release, sites, quorum, rounds, training, privacy and evaluation.

    release: SHA-256 of the starting release (32 bytes). quorum: the fewest sites whose sum may be opened.
    evaluation: None asks for none.
    seed: of the public randomness (shared initialisation and order); never of noise or sampling.
    """

    consortium: str
    name: str
    task: Task
    release: bytes
    sites: tuple[PlanSite, ...]
    quorum: int
    rounds: int
    training: TrainingTerms
    privacy: PrivacyTerms
    evaluation: EvaluationTerms | None
    seed: int

    def __post_init__(self) -> None:
        _require(bool(self.consortium), "the plan names no consortium", "name the consortium")
        _require(bool(self.name), "the plan has no name", "name the plan")
        _require(len(self.release) == 32, "the release is not named by its SHA-256", "give its 32-byte hash")
        _require(len(self.sites) >= 1, "the plan names no site", "name at least one site")
        names = [site.name for site in self.sites]
        _require(len(set(names)) == len(names), "two sites share a name", "give each site its own name")
        _require(
            1 <= self.quorum <= len(self.sites),
            f"a quorum of {self.quorum} out of {len(self.sites)} sites",
            "choose a quorum between 1 and the number of sites",
        )
        _require(self.rounds >= 1, f"rounds is {self.rounds}", "plan at least one round")
        _require(
            self.training.recipe.centring < self.rounds,
            f"{self.training.recipe.centring} of {self.rounds} rounds find the centre, and none is left to train",
            "plan more rounds, or fewer that find the centre",
        )
        _require(
            len(self.training.finding_weights) == len(self.task.findings),
            f"{len(self.training.finding_weights)} finding weights for {len(self.task.findings)} findings",
            "give one weight for each finding",
        )
        if self.privacy.mode != "none":
            require_patients([site.patients for site in self.sites])
            for site in self.sites:
                _require(
                    self.privacy.delta < 1.0 / site.patients,
                    f"delta {self.privacy.delta:g} is not below 1/{site.patients}, the inverse of "
                    f"{site.name!r}'s patients",
                    f"choose a delta below {1.0 / site.patients:.2g}; {0.1 / site.patients:.1g} would do",
                )
        if self.privacy.mode == "distributed":
            require_shared_noise(self.training, self.rounds, self.quorum, self.privacy.colluding)
        if self.evaluation is not None:
            self._check_evaluation(self.evaluation)

    def _check_evaluation(self, terms: EvaluationTerms) -> None:
        """Noise where there is privacy, enough sites to hide among, and delta below the inverse of every cell."""
        private = self.privacy.mode != "none"
        _require(
            terms.noise_multiplier > 0.0 or not private,
            f"an evaluation with noise multiplier {terms.noise_multiplier:g} in mode {self.privacy.mode!r}",
            "calibrate it from epsilon and delta; only mode 'none' has no noise",
        )
        asked = [site for site in self.sites if site.name in self.asked]
        _require(
            len(asked) >= self.quorum,
            f"{len(asked)} sites declare {terms.minimum_patients} or more held-out patients and the quorum is "
            f"{self.quorum}",
            "declare held-out patients at enough sites, lower the evaluation's minimum, or plan no evaluation",
        )
        for site in asked:
            _require(
                not private or self.privacy.delta < 1.0 / site.held_out,
                f"delta {self.privacy.delta:g} is not below 1/{site.held_out}, the inverse of {site.name!r}'s held-out "
                "patients",
                f"choose a delta below {1.0 / site.held_out:.2g}",
            )
        _require(
            terms.gate is None or terms.gate.tolerated < len(asked),
            f"the gate tolerates {terms.gate.tolerated if terms.gate else 0} sites of the {len(asked)} asked",
            "tolerate fewer, or leave the gate out",
        )

    @property
    def asked(self) -> tuple[str, ...]:
        """The sites that are asked for evaluations: those that declare enough held-out patients. Public numbers alone
        decide, so that not being asked tells nothing."""
        if self.evaluation is None:
            return ()
        least = self.evaluation.minimum_patients
        return tuple(site.name for site in self.sites if site.held_out >= least)

    @property
    def hash(self) -> bytes:
        """SHA-256 of the plan's canonical bytes (32 bytes): what a site countersigns."""
        return wire.digest(self)

    @property
    def steps(self) -> int:
        """Optimiser steps that a site makes over the whole plan."""
        return self.rounds * self.training.local_steps

    def finds_centre(self, round: int) -> bool:
        """Whether `round` (from 1 on) finds the centre of the features, and does not train."""
        return round <= self.training.recipe.centring

    def training_in(self, round: int) -> TrainingTerms:
        """The terms of `round` (from 1 on): the plan's own, but that rounds which find the centre are plain steps.

        Their rates make the steps of all of them add up to one mean over patients, each of whom counts as their mean
        feature brought to the clip, over the clip.
        """
        training = self.training
        if not self.finds_centre(round):
            return training
        unit = 1.0 if self.privacy.mode == "none" else self.privacy.clip
        return replace(
            training,
            strategy="fedavg",
            learning_rate=1.0 / (training.recipe.centring * training.local_steps * unit),
            momentum=0.0,
            proximal=0.0,
            server_learning_rate=1.0,
            server_momentum=0.0,
            recipe=replace(training.recipe, schedule="constant", corrected=False),
        )

    def clip(self, step: int) -> float:
        """The bound on one patient's gradient norm at step 0, 1, ..., steps - 1 of the plan: privacy.clip or less."""
        return self.privacy.clip * self.training.recipe.clipped_to(step, self.steps)

    def nominal(self, site: str) -> int:
        """The declared patient count of `site`; PlanError when the plan does not name it."""
        for one in self.sites:
            if one.name == site:
                return one.patients
        raise PlanError(f"the plan does not name site {site!r}", where="plan")


def require_shared_noise(training: TrainingTerms, rounds: int, quorum: int, colluding: int) -> None:
    """Raise PlanError for terms that mode "distributed" cannot carry: it takes one step a round and nothing that a site
    would remember (the optimiser's state lies at the coordinator), and one honest share of the noise."""
    _require(
        training.local_steps == 1,
        f"local_steps is {training.local_steps} in mode 'distributed', where only a single step's sum is noised",
        f"plan local_steps 1 and {rounds * training.local_steps} rounds, or mode 'local'",
    )
    _require(
        training.momentum == 0.0,
        f"momentum is {training.momentum} at the sites in mode 'distributed'",
        f"plan momentum 0 and server_momentum {training.momentum:g}",
    )
    _require(
        training.strategy != "fedprox" and training.proximal == 0.0,
        "a proximal term in mode 'distributed', where a site's one step starts at the shared model",
        "use fedavg or fedadam, and proximal 0",
    )
    _require(
        colluding < quorum,
        f"{colluding} colluding sites and a quorum of {quorum}: no honest share of the noise would be left",
        f"state at most {quorum - 1} colluding sites",
    )


def require_patients(nominal: Sequence[int]) -> None:
    """Raise PlanError when a site of a private plan declares fewer than LEAST_PATIENTS to train on."""
    _require(
        min(nominal) >= LEAST_PATIENTS,
        f"a site with {min(nominal)} training patients cannot hide one among them and still teach anything",
        f"plan with sites of at least {LEAST_PATIENTS} patients, and leave this one out",
    )
