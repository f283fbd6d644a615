"""From what a study left behind to its result: every figure of the report, and nothing computed anywhere else."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from .. import __version__
from ..client.annotations import Proposal
from ..models.calibration import expected_calibration_error, probabilities, reliability
from ..models.checkpoint import Release
from ..privacy.accounting import epsilon
from ..privacy.distributed import collusions
from ..privacy.events import evaluation_events, round_events
from ..privacy.plan import Plan
from ..server.outcome import Outcome
from .engine import EngineName
from .readers import Read
from .results import CalibrationBin, Effort, RoundResult, SheetImage, SiteResult, StudyResult
from .scoring import Bench, Scores, estimate, region_quality, run_model
from .sites import Case, Site, patients
from .study import Study

_PACKAGES = ("torch", "opacus", "flwr", "dp-accounting", "pydicom", "numpy")


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Everything a finished study left; sequences are aligned with `sites`.

    releases: each site's own, the federated one with its temperatures. before, after: proposals by instance.
    by_hand, with_proposals: readings of the held-out images by instance. alone: empty when not asked for.
    """

    study: Study
    plan: Plan
    engine: EngineName
    sites: tuple[Site, ...]
    benches: tuple[Bench, ...]
    outcome: Outcome
    releases: tuple[Release, ...]
    before: tuple[dict[str, Proposal], ...]
    after: tuple[dict[str, Proposal], ...]
    alone: tuple[Release, ...]
    pooled: Release | None
    by_hand: tuple[dict[str, Read], ...]
    with_proposals: tuple[dict[str, Read], ...]
    parameters: int
    sheet: tuple[SheetImage, ...]


def assemble(found: Findings, seconds: Callable[[], float]) -> StudyResult:
    """The study's result; `seconds` is asked last for the wall clock."""
    study, seed = found.study, found.study.seed
    before = [_stated(one, proposals, study) for one, proposals in zip(found.benches, found.before, strict=True)]
    runs = [run_model(found.outcome.release, one.inputs) for one in found.benches]
    federated = [logits for logits, _ in runs]
    stated = [
        np.stack([probabilities(logits[:, f], t) for f, t in enumerate(release.card.temperatures)], axis=1)
        for logits, release in zip(federated, found.releases, strict=True)
    ]
    pooled = None
    if found.pooled is not None:
        pooled = estimate([run_model(found.pooled, one.inputs)[0] for one in found.benches], found.benches, seed)
    sites = tuple(
        _site(found, number, before[number], federated[number], stated[number], runs[number][1])
        for number in range(len(found.sites))
    )
    chances, truths = _known(stated, found.benches)
    return StudyResult(
        study=study.name,
        seed=seed,
        synthetic=study.synthetic,
        engine=found.engine,
        aggregation=found.outcome.release.card.training[-1].aggregation,
        mode=study.plan.mode,
        findings=study.task.keys,
        model=model_of(study),
        parameters=found.parameters,
        sites=sites,
        rounds=_rounds(found),
        auroc_before=estimate(before, found.benches, seed),
        federated=estimate(federated, found.benches, seed),
        pooled=pooled,
        calibration=tuple(CalibrationBin(*row) for row in reliability(chances, truths, 10)),
        calibration_error=expected_calibration_error(chances, truths, 10) if len(chances) else None,
        sheet=found.sheet,
        bytes_sent=sum(one.up for one in found.outcome.traffic),
        release=found.outcome.release.hash.hex(),
        versions=versions(),
        warnings=_warnings(found),
        seconds=seconds(),
        colluding=found.plan.privacy.colluding,
        collusions=tuple(one.epsilon for one in collusions(found.plan)),
    )


def _site(
    found: Findings, number: int, before: Scores, federated: Scores, stated: Scores, maps: np.ndarray
) -> SiteResult:
    study, site, one = found.study, found.sites[number], found.benches[number]
    alone = everywhere = None
    if found.alone:
        release = found.alone[number]
        alone = estimate([run_model(release, one.inputs)[0]], [one], study.seed)
        scores = [run_model(release, other.inputs)[0] for other in found.benches]
        everywhere = estimate(scores, found.benches, study.seed)
    chances, truths = _known([stated], [one])
    overlap, pointing = region_quality(one, maps, found.after[number], found.releases[number])
    everything = np.array(
        [[np.nan if state is None else float(state) for state in case.truth.present] for case in site.cases]
    )
    return SiteResult(
        name=site.name,
        patients=patients(site.cases),
        images=len(site.cases),
        train_patients=patients(site.train),
        held_out_patients=patients(site.held_out),
        prevalence=tuple(_share(everything[:, finding]) for finding in range(everything.shape[1])),
        quarantined=tuple((item.source, item.reason) for item in site.intake.quarantined),
        epsilon=site.node.ledger.spent() if study.plan.mode != "none" else float("inf"),
        epsilon_cap=site.node.ledger.epsilon_cap if study.plan.mode != "none" else float("inf"),
        delta=study.plan.delta,
        noise_multiplier=found.plan.privacy.noise_multiplier,
        auroc_before=estimate([before], [one], study.seed),
        auroc_after=estimate([federated], [one], study.seed),
        auroc_alone=alone,
        auroc_alone_everywhere=everywhere,
        calibration_error=expected_calibration_error(chances, truths, 10) if len(chances) else None,
        dice=overlap,
        pointing=pointing,
        bytes_sent=sum(entry.up for entry in found.outcome.traffic if entry.site == site.name),
        effort=_effort(found, number),
    )


def _share(column: np.ndarray) -> float:
    known = column[~np.isnan(column)]
    return float(known.mean()) if len(known) else 0.0


def _stated(one: Bench, proposals: dict[str, Proposal], study: Study) -> Scores:
    """The probabilities (N, F) that proposals stated; one half where nothing was proposed."""
    rows: list[list[float]] = []
    for case in one.cases:
        proposal = proposals.get(case.row.id)
        chances = {} if proposal is None else dict(proposal.probabilities)
        rows.append([chances.get(key, 0.5) for key in study.task.keys])
    return np.array(rows, dtype=np.float64).reshape(-1, len(study.task.keys))


def _known(stated: Sequence[Scores], benches: Sequence[Bench]) -> tuple[np.ndarray, np.ndarray]:
    """All stated probabilities whose truth is known, with it, findings and sites run together."""
    chances, truths = np.concatenate(stated).ravel(), np.concatenate([one.truth for one in benches]).ravel()
    known = ~np.isnan(truths)
    return chances[known], truths[known]


def _effort(found: Findings, number: int) -> Effort:
    from .readers import ScriptedReader

    study, site = found.study, found.sites[number]
    hand, shown = found.by_hand[number].values(), found.with_proposals[number].values()
    commoner = [
        _commoner([case.truth.present[finding] for case in site.train]) for finding in range(len(study.task.keys))
    ]
    reader = ScriptedReader("accept-all", study.task.keys, study.readers, np.random.default_rng(0))
    costs = [reader.accept_all(case.row, case.truth, commoner) for case in site.held_out]
    return Effort(
        studies=_studies(site.held_out),
        actions=sum(one.cost.actions for one in shown),
        seconds=sum(one.cost.seconds for one in shown),
        by_hand_actions=sum(one.cost.actions for one in hand),
        by_hand_seconds=sum(one.cost.seconds for one in hand),
        accept_all_actions=sum(cost.actions for cost in costs),
        accept_all_seconds=sum(cost.seconds for cost in costs),
        label_errors=sum(one.wrong for one in shown) / max(1, sum(one.findings for one in shown)),
        by_hand_errors=sum(one.wrong for one in hand) / max(1, sum(one.findings for one in hand)),
    )


def _commoner(states: Sequence[bool | None]) -> bool:
    return 2 * sum(state is True for state in states) > sum(state is not None for state in states)


def _studies(cases: Sequence[Case]) -> int:
    """Images read; every image is a reading of its own."""
    return len(cases)


def _rounds(found: Findings) -> tuple[RoundResult, ...]:
    plan = found.plan
    rounds: list[RoundResult] = []
    attempts, measured = 0, evaluation_events(plan, 0)
    for log in found.outcome.rounds:
        attempts += log.attempts
        spent = float("inf")
        if plan.privacy.mode != "none":
            if log.evaluation is not None:
                measured += evaluation_events(plan, log.round)
            spent = max(epsilon(one, plan.privacy.delta) for one in (round_events(plan) * attempts, measured))
        rounds.append(
            RoundResult(
                round=log.round,
                survivors=log.survivors,
                missing=tuple(one.site for one in log.missing),
                auroc=log.evaluation.auroc if log.evaluation is not None else (None,) * len(plan.task.findings),
                update_norm=log.update_norm,
                epsilon=spent,
                bytes_sent=sum(one.up for one in log.traffic),
                seconds=log.seconds,
            )
        )
    return tuple(rounds)


def model_of(study: Study) -> str:
    """The study's network in words."""
    architecture = study.model.architecture
    frozen = "frozen, head trained" if architecture.frozen else "all layers trained"
    return (
        f"{architecture.backbone} ({architecture.weights} weights, {frozen}), {architecture.pooling} pooling, "
        f"{study.model.transform.size} px"
    )


def versions() -> tuple[tuple[str, str], ...]:
    """What the figures were computed with: ours, Python's and the libraries' versions."""
    found: list[tuple[str, str]] = [("medquorum", __version__), ("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def _warnings(found: Findings) -> tuple[str, ...]:
    """What a reader of the figures should know."""
    said: list[str] = []
    if found.study.synthetic:
        said.append("Every image is a synthetic phantom; the figures say nothing about patients.")
    if found.plan.privacy.mode == "none":
        said.append("Mode none: the updates are not private at all.")
    if found.engine == "processes":
        said.append("Noise came from the operating system, so figures differ from run to run.")
    else:
        said.append("Contributions were summed in the clear and noise came from a seed: only a simulation may.")
    if found.plan.evaluation is not None:
        said.append(_how_measured(found.plan))
    if found.outcome.gated:
        said.append(f"The federation's model is {found.outcome.gated}.")
    for site, one in zip(found.sites, found.benches, strict=True):
        count = len(site.intake.quarantined)
        if count:
            said.append(
                f"{site.name}: {count} of {site.intake.offered} files are in quarantine; the reasons are listed."
            )
        for finding, key in enumerate(found.study.task.keys):
            known = one.truth[~np.isnan(one.truth[:, finding]), finding]
            if len(set(known.tolist())) < 2:
                said.append(f"{site.name}: held-out patients have one class only of {key!r}; it has no AUROC there.")
    rounds = [log.evaluation.auroc for log in found.outcome.rounds if log.evaluation is not None]
    why = "all held-out patients are alike in it" if found.plan.privacy.mode == "none" else "noise hides it"
    for finding, key in enumerate(found.study.task.keys):
        if rounds and all(auroc[finding] is None for auroc in rounds):
            said.append(f"No round has an AUROC of {key!r}: {why}.")
    said.extend(f"{missing.site} took no part: {missing.reason}" for missing in found.outcome.missing)
    return tuple(said)


def _how_measured(plan: Plan) -> str:
    """Where the rounds' AUROC comes from, and where the others'."""
    if plan.privacy.mode == "none":
        return "The rounds' AUROC comes from exact histograms, which no real hospital's node gives."
    return (
        "The rounds' AUROC is what a coordinator of real hospitals sees: read from noised histograms, with intervals "
        "for patients and noise. All other figures are measured against the truth, which only a simulation has."
    )
