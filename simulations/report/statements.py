"""What a study's figures say, in sentences, for the console and for the page: no figure without its qualification."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..results import Effort, Estimate, SiteResult, StudyResult
from . import figures

RESEARCH_USE = "Research use only. This is not a medical device; every proposal is decided on by a human reader."


@dataclass(frozen=True, slots=True)
class EffortSums:
    """Readers' actions over all sites: with proposals, by hand, and with the commoner class accepted everywhere."""

    studies: int
    actions: float
    by_hand: float
    accept_all: float
    saved: float
    accept_all_saved: float
    label_errors: float
    by_hand_errors: float


def effort_sums(efforts: list[Effort]) -> EffortSums:
    """Actions summed over `efforts`, errors as their mean over studies; the shares saved are 0 when there was nothing
    to do by hand."""
    actions = sum(effort.actions for effort in efforts)
    by_hand = sum(effort.by_hand_actions for effort in efforts)
    accept_all = sum(effort.accept_all_actions for effort in efforts)
    studies = sum(effort.studies for effort in efforts)
    shared = max(studies, 1)
    return EffortSums(
        studies=studies,
        actions=actions,
        by_hand=by_hand,
        accept_all=accept_all,
        saved=1.0 - actions / by_hand if by_hand else 0.0,
        accept_all_saved=1.0 - accept_all / by_hand if by_hand else 0.0,
        label_errors=sum(effort.label_errors * effort.studies for effort in efforts) / shared,
        by_hand_errors=sum(effort.by_hand_errors * effort.studies for effort in efforts) / shared,
    )


def best_alone(result: StudyResult) -> tuple[SiteResult, Estimate] | None:
    """The hospital whose own model does best on all hospitals' held-out patients, with that AUROC."""
    measured = [(site, site.auroc_alone_everywhere) for site in result.sites if site.auroc_alone_everywhere is not None]
    return max(measured, key=lambda pair: pair[1].value) if measured else None


def headline(result: StudyResult) -> str:
    """The one sentence that a reader takes away, with its interval."""
    who = f"{figures.count(len(result.sites), 'hospital')} with {figures.count(_patients(result), 'patient')}"
    before, after = result.auroc_before, result.federated
    if after is None:
        return f"{who}: the federated model's AUROC cannot be measured, as the held-out patients have only one class."
    if before is None:
        return f"{who} trained one model together: its proposals have an AUROC of {figures.with_interval(after)}."
    return (
        f"{who} trained one model together: the AUROC of its proposals went from {figures.with_interval(before)} "
        f"to {figures.with_interval(after)}{_overlap(after, before)}."
    )


def comparisons(result: StudyResult) -> tuple[str, ...]:
    """Sentences that place the federated model beside what it must be judged against."""
    said: list[str] = []
    after, alone = result.federated, best_alone(result)
    if after is not None and alone is not None:
        site, estimate = alone
        said.append(
            f"On the held-out patients of all hospitals the federated model {_beside(after, estimate)} the best that "
            f"a hospital reached alone under the same plan and epsilon, that of {site.name}, "
            f"{figures.with_interval(estimate)}{_overlap(after, estimate)}."
        )
    if after is not None and result.pooled is not None:
        said.append(
            f"Training on all images pooled in one place, which no hospital would allow, reaches "
            f"{figures.with_interval(result.pooled)}; federated is at {figures.with_interval(after)}"
            f"{_overlap(after, result.pooled)}."
        )
    effort = effort_sums([site.effort for site in result.sites])
    if effort.studies:
        said.append(
            f"Scripted readers of {figures.count(effort.studies, 'held-out study', 'held-out studies')} "
            f"{_saving(effort.saved)} with the federated model's proposals than by hand; with the commoner answer "
            f"proposed for everything they would have {_saving(effort.accept_all_saved)}. Of their finding labels "
            f"{100 * effort.label_errors:.1f}{figures.GAP}% ended wrong with proposals, and "
            f"{100 * effort.by_hand_errors:.1f}{figures.GAP}% by hand."
        )
    if after is not None:
        said.append("Brackets hold 95 % intervals, from resampling patients.")
    return tuple(said)


def mode(result: StudyResult) -> str:
    """The privacy mode, the relation, and against whom epsilon holds, in one line."""
    if result.mode == "none":
        return "none: nothing is private"
    against = _coordinator_and(result.colluding) if result.collusions else "everyone"
    return f"{result.mode}, adding or removing one patient, against {against}"


def _coordinator_and(colluding: int) -> str:
    if colluding == 0:
        return "the coordinator"
    return f"the coordinator together with {'one hospital' if colluding == 1 else f'up to {colluding} hospitals'}"


def _shared_noise(result: StudyResult) -> str:
    """What mode "distributed" promises and what more colluding hospitals would learn."""
    stated, (cost, *more) = result.colluding, result.collusions
    said = (
        "Mode distributed: every hospital adds a share of the noise before its update is summed, and only the sum over "
        f"at least the quorum is private. The plan's epsilon of {cost:.2f} holds against {_coordinator_and(stated)}"
    )
    if not more:
        return f"{said}."
    others = ", ".join(f"{epsilon:.2f} with {count}" for count, epsilon in enumerate(more, start=stated + 1))
    return f"{said}; if more hospitals told it their noise and what they saw, it would be {others}."


def notices(result: StudyResult) -> tuple[str, ...]:
    """What must be said of where the figures come from."""
    said: list[str] = []
    if result.synthetic:
        said.append(
            "The images are phantoms: synthetic radiographs made by a program. Nothing here says how well the model "
            "would do on patients."
        )
    if result.aggregation == "plain":
        said.append(
            "Updates were summed in the clear (aggregation: plain). The coordinator could read each hospital's update; "
            "this exists only in simulation and no hospital's node answers to it."
        )
    if result.engine == "processes":
        said.append(
            "Updates were summed under encryption (aggregation: secure), by a coordinator and nodes in processes of "
            "their own: what reached the coordinator were masked vectors, and it could open their sum alone. Noise "
            "came from the operating system, so figures differ from run to run."
        )
    if result.collusions:
        said.append(_shared_noise(result))
    said.append(
        "Figures per hospital are exact, which only a simulation may show: in a real federation every figure that "
        "leaves a hospital is noised and charged too."
    )
    return tuple(said)


def guarantee(result: StudyResult) -> tuple[str, ...]:
    """What the epsilon promises and what it does not, in sentences."""
    if result.mode == "none":
        return (
            "Mode none: updates carry no noise, so there is no differential privacy and epsilon is infinite. Only a "
            "simulation runs so.",
        )
    return (
        "The unit is the patient: all images and labels of one person together, however many there are.",
        "The relation is adding or removing one patient. Whatever anybody infers from a hospital's updates, and from "
        "the released model, they could infer almost as well had any one patient never been in the data: no "
        "probability changes by more than a factor of exp(epsilon), but for delta.",
        "Epsilon counts for each hospital by itself, over everything this plan released about its patients. It was "
        "charged to the hospital's ledger before each training, and the ledger refuses what would pass the cap.",
        _shared_noise(result)
        if result.collusions
        else "Mode local: a hospital's update is private when it leaves the hospital, against everyone, the "
        "coordinator and all other hospitals together included.",
        "Each node drew its noise from its operating system: nobody can repeat it or take it away again."
        if result.engine == "processes"
        else "Here the noise comes from the study's seed, so that the run can be repeated, and whoever knows the seed "
        "could take it away again. A hospital's node draws it from its operating system, and nobody can repeat that.",
        "Not covered: which records people chose and how they corrected them, the exact figures of this report, and "
        "what is true of hospitals or of whole populations.",
    )


def quarantine_counts(site: SiteResult) -> list[tuple[str, int]]:
    """How many files each reason kept out, the commonest first; reasons that differ only in their numbers are one,
    told by the first of them."""
    alike: dict[str, list[str]] = {}
    for _, reason in site.quarantined:
        alike.setdefault(re.sub(r"\d+", "#", reason), []).append(reason)
    told = [
        (reasons[0] if len(set(reasons)) == 1 else f"{reasons[0]}, and alike", len(reasons))
        for reasons in alike.values()
    ]
    return sorted(told, key=lambda pair: (-pair[1], pair[0]))


def _patients(result: StudyResult) -> int:
    return sum(site.patients for site in result.sites)


def _beside(one: Estimate, other: Estimate) -> str:
    if figures.auroc(one.value) == figures.auroc(other.value):
        return "equals"
    return "is above" if one.value > other.value else "is below"


def _overlap(one: Estimate, other: Estimate) -> str:
    disjoint = one.low > other.high or one.high < other.low
    return "" if disjoint else "; the 95 % intervals overlap"


def _saving(saved: float) -> str:
    if figures.percent(saved) == figures.percent(0.0):
        return "needed as many actions"
    return f"needed {figures.percent(abs(saved))} {'fewer' if saved > 0 else 'more'} actions"
