"""What a study found: plain frozen data, enough to redraw every table and plot of the report."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.estimate import Estimate

__all__ = [
    "CalibrationBin",
    "Effort",
    "Estimate",
    "RoundResult",
    "SheetImage",
    "SiteResult",
    "StudyResult",
]


@dataclass(frozen=True, slots=True)
class Effort:
    """What readers did on the held-out patients, who arrive after training.

    actions and seconds: with proposals shown; by_hand_*: the same studies labelled by hand; accept_all_*: with the
    commoner class proposed for everything (the baseline that explains most of the saving on easy sets).
    label_errors, by_hand_errors: share of finding labels that ended wrong.
    """

    studies: int
    actions: float
    seconds: float
    by_hand_actions: float
    by_hand_seconds: float
    accept_all_actions: float
    accept_all_seconds: float
    label_errors: float
    by_hand_errors: float

    @property
    def actions_saved(self) -> float:
        """Share of by-hand actions that proposals save (negative when they cost more)."""
        return 1.0 - self.actions / self.by_hand_actions if self.by_hand_actions else 0.0


@dataclass(frozen=True, slots=True)
class SiteResult:
    """One hospital. AUROCs are means over the task's findings against the truth, on its held-out patients unless
    said otherwise; None where the held-out patients have only one class.

    before: the starting release; after: the federated release; alone: this site's own training at the same epsilon
    and plan; *_everywhere: on the held-out patients of all sites together.
    """

    name: str
    patients: int
    images: int
    train_patients: int
    held_out_patients: int
    prevalence: tuple[float, ...]
    quarantined: tuple[tuple[str, str], ...]
    epsilon: float
    epsilon_cap: float
    delta: float
    noise_multiplier: float
    auroc_before: Estimate | None
    auroc_after: Estimate | None
    auroc_alone: Estimate | None
    auroc_alone_everywhere: Estimate | None
    calibration_error: float | None
    dice: float | None
    pointing: float | None
    bytes_sent: int
    effort: Effort


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One finished round: who contributed, who was missing, what the coordinator measured from the sums.

    auroc: by findings, as the coordinator saw it (with the plan's noise, if any); None where nothing was measured.
    """

    round: int
    survivors: tuple[str, ...]
    missing: tuple[str, ...]
    auroc: tuple[Estimate | None, ...]
    update_norm: float
    epsilon: float
    bytes_sent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """One bin of the reliability plot: mean stated probability, observed share present, and how many."""

    stated: float
    observed: float
    count: int


@dataclass(frozen=True, slots=True)
class SheetImage:
    """One image of the report's sheet: grey values, heatmap, proposed and true region as PNG bytes."""

    site: str
    source: str
    finding: str
    probability: float
    present: bool
    image: bytes
    heatmap: bytes
    proposed: bytes
    truth: bytes


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A whole study. `synthetic` is true when the images are phantoms; `aggregation` names what summed the updates
    ("plain" is readable by the coordinator and exists only in simulation). `collusions`, in mode "distributed": the
    whole plan's epsilon when `colluding` hospitals, one more, two more, ... tell the coordinator their noise."""

    study: str
    seed: int
    synthetic: bool
    engine: str
    aggregation: str
    mode: str
    findings: tuple[str, ...]
    model: str
    parameters: int
    sites: tuple[SiteResult, ...]
    rounds: tuple[RoundResult, ...]
    auroc_before: Estimate | None
    federated: Estimate | None
    pooled: Estimate | None
    calibration: tuple[CalibrationBin, ...]
    calibration_error: float | None
    sheet: tuple[SheetImage, ...]
    bytes_sent: int
    seconds: float
    release: str
    versions: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    colluding: int = 0
    collusions: tuple[float, ...] = ()
