"""One study from its file to its result: hospitals, readers, a federation, and what each hospital gets alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..client.annotations import Annotation, Proposal
from ..client.propose import propose
from ..client.training_set import build
from ..models.calibration import fit_temperature
from ..models.checkpoint import Release, save
from ..models.parameters import to_vector
from .data import Hospital
from .describe.division import Division
from .engine import EngineName
from .errors import StudyRefusedError
from .gather import gather, show
from .manifest import write_run
from .outcome import Findings, assemble
from .progress import Progress, silent, stage_of
from .readers import Read, ScriptedReader
from .results import StudyResult
from .scoring import Bench, bench, run_model
from .sheet import make_sheet
from .sites import Case, Site, open_site, planned_nominal
from .study import Study
from .terms import PhantomData
from .training import make_plan, privacy_terms, starting_release, train_alone, train_pooled, train_together

__all__ = ["EngineName", "run_study"]

READER = "scripted reader"


def run_study(
    study: Study, data: Path | None, out: Path, engine: EngineName = "inprocess", progress: Progress = silent
) -> StudyResult:
    """Run `study` and return what it found.

    data: the folder that the study's data section is relative to (None for phantoms). out: a folder for the nodes'
    encrypted stores, the coordinator's checkpoints and the release; made if missing, refused if it already holds a
    run. engine: "inprocess", "ray" for Flower's simulation engine, or "processes" for a coordinator and nodes as real
    processes, with the encrypted sum and noise from the operating system.
    Raises StudyError (bad input), PlanError and UnaccountableError (figures that cannot be had), BudgetError.
    """
    started = time.monotonic()
    if (out / "nodes").exists():
        raise StudyRefusedError("the folder holds a run already", where=str(out), fix="choose another --out")
    stages = _Stages(progress)
    if engine == "processes" and study.plan.mode == "none":
        raise StudyRefusedError(
            "real nodes take part in no plan without privacy",
            where=f"{study.file}, plan.privacy.mode",
            fix='set it to "local", or choose another engine',
        )
    with ExitStack() as stack:
        hospitals, division = _gathered(study, data, out, stages)
        show(division, out, progress)
        # Before anything is imported or trained: a budget that cannot work is said with the figures that would.
        privacy = privacy_terms(study, [planned_nominal(study, hospital) for hospital in hospitals])
        sites = _imported(study, hospitals, out, stages, stack)
        release = starting_release(study, out.resolve().parent)
        plan = make_plan(study, release, sites, privacy)
        write_run(study, data, hospitals, engine, plan.hash.hex(), release.hash.hex(), out)
        before = _proposed(study, sites, [release] * len(sites), "Propose with the starting model", stages)
        by_hand = _read_by_hand(study, sites, stages)
        with stages.stage("Train together", plan.rounds) as advance:
            outcome = train_together(study, sites, plan, release, out / "federation", engine, advance)
        save(outcome.release, out / "release")
        with stages.stage("Calibrate inside each hospital", len(sites)) as advance:
            local: list[Release] = []
            for site in sites:
                local.append(_calibrated(site, outcome.release))
                site.node.releases.adopt(local[-1])
                advance(len(local))
        after = _proposed(study, sites, local, "Propose for newly arrived patients", stages)
        with_proposals = _read_proposals(study, sites, local, by_hand, stages)
        alone: list[Release] = []
        if study.compare.alone:
            with stages.stage("Train each hospital alone", len(sites)) as advance:
                for site in sites:
                    alone.append(train_alone(study, site, plan, release, out / "alone" / site.name))
                    advance(len(alone))
        pooled: Release | None = None
        if study.compare.pooled:
            with stages.stage("Train on all data together", study.compare.pooled_epochs) as advance:
                sets = [build(site.node.store, site.node.store.frozen(plan.hash), release) for site in sites]
                pooled = train_pooled(study, sets, plan, release, advance)
        with stages.stage("Measure against the truth", 0):
            benches = [bench(site, site.held_out, release) for site in sites]
            findings = Findings(
                study=study,
                plan=plan,
                engine=engine,
                sites=tuple(sites),
                benches=tuple(benches),
                outcome=outcome,
                releases=tuple(local),
                before=before,
                after=after,
                alone=tuple(alone),
                pooled=pooled,
                by_hand=tuple(by_hand),
                with_proposals=tuple(with_proposals),
                parameters=int(to_vector(release.network().trainable()).numel()),
                sheet=make_sheet(sites, benches, local, after, study.seed),
            )
            return assemble(findings, lambda: time.monotonic() - started)


class _Stages:
    """Tells the watcher of stages."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def stage(self, name: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """One stage; what it yields is told how many steps are done."""
        return stage_of(self._progress, name, total)


def _gathered(study: Study, data: Path | None, out: Path, stages: _Stages) -> tuple[tuple[Hospital, ...], Division]:
    name = "Generate phantoms" if isinstance(study.data, PhantomData) else "Divide the images among hospitals"
    with stages.stage(name, 0) as advance:
        return gather(study, data, out / "data", advance)


def _imported(study: Study, hospitals: Sequence[Hospital], out: Path, stages: _Stages, stack: ExitStack) -> list[Site]:
    sites: list[Site] = []
    with stages.stage("Import into each hospital's node", sum(len(one.truths) for one in hospitals)) as advance:
        done = 0
        for number, hospital in enumerate(hospitals):
            folder = out / "nodes" / hospital.name
            site = open_site(
                study, hospital, number, folder, len(hospitals), lambda n, before=done: advance(before + n)
            )
            stack.callback(site.close)
            sites.append(site)
            done += site.intake.offered
    return sites


def _proposed(
    study: Study, sites: Sequence[Site], releases: Sequence[Release], name: str, stages: _Stages
) -> tuple[dict[str, Proposal], ...]:
    """Let each site's release propose for its held-out patients: the proposals by instance."""
    shape = "mask" if study.readers.regions == "mask" else "box"
    found: list[dict[str, Proposal]] = []
    with stages.stage(name, sum(len(site.held_out) for site in sites)) as advance:
        done = 0
        for site, release in zip(sites, releases, strict=True):
            rows = [case.row for case in site.held_out]
            propose(
                site.node.store,
                release,
                progress=lambda n, _, before=done: advance(before + n),
                instances=rows,
                shape=shape,
            )
            found.append(site.node.store.proposals(release.hash.hex()))
            done += len(rows)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where a site's images are read."""

    site: Site
    reader: ScriptedReader

    @classmethod
    def of(cls, study: Study, site: Site, phase: int) -> _Desk:
        """A reader for one phase of the study, seeded by study, site and phase."""
        generator = np.random.default_rng([study.seed, site.number, phase, 0x4EAD])
        return cls(site, ScriptedReader(READER, study.task.keys, study.readers, generator))

    def keep(self, cases: Sequence[Case], read: Callable[[Case], Read]) -> dict[str, Read]:
        """Read the images in order, store the annotations, and return the readings by instance."""
        readings = {case.row.id: read(case) for case in cases}
        self.site.node.store.annotate_many([one.annotation for one in readings.values()])
        return readings


def _read_by_hand(study: Study, sites: Sequence[Site], stages: _Stages) -> list[dict[str, Read]]:
    """Everything is read once with the proposal hidden: training patients to learn from, held-out ones so that the
    rounds can be measured and the effort by hand is known. Returns each site's held-out readings."""
    held: list[dict[str, Read]] = []
    with stages.stage("Read by hand", sum(len(site.cases) for site in sites)) as advance:
        done = 0
        for site in sites:
            desk = _Desk.of(study, site, 1)
            desk.keep(site.train, lambda case, desk=desk: desk.reader.by_hand(case.row, case.truth))
            held.append(desk.keep(site.held_out, lambda case, desk=desk: desk.reader.by_hand(case.row, case.truth)))
            done += len(site.cases)
            advance(done)
    return held


def _read_proposals(
    study: Study,
    sites: Sequence[Site],
    releases: Sequence[Release],
    by_hand: Sequence[dict[str, Read]],
    stages: _Stages,
) -> list[dict[str, Read]]:
    """The held-out patients are read again, with the new model's proposals shown."""
    found: list[dict[str, Read]] = []
    with stages.stage("Review the proposals", sum(len(site.held_out) for site in sites)) as advance:
        done = 0
        for site, release, earlier in zip(sites, releases, by_hand, strict=True):
            desk = _Desk.of(study, site, 2)
            proposals = site.node.store.proposals(release.hash.hex())

            def read(
                case: Case,
                desk: _Desk = desk,
                proposals: dict[str, Proposal] = proposals,
                earlier: dict[str, Read] = earlier,
            ) -> Read:
                first: Annotation = earlier[case.row.id].annotation
                shown = proposals.get(case.row.id)
                if shown is None:  # the image did not decode, so nothing was proposed
                    return desk.reader.by_hand(case.row, case.truth, first)
                return desk.reader.with_proposal(case.row, case.truth, shown, first)

            found.append(desk.keep(site.held_out, read))
            done += len(site.held_out)
            advance(done)
    return found


def _calibrated(site: Site, release: Release) -> Release:
    """The release with temperatures fitted inside the node, on its training patients as its readers labelled them.

    It never leaves the node: fitted temperatures are not covered by the plan's guarantee.
    """
    one: Bench = bench(site, site.train, release)
    logits, _ = run_model(release, one.inputs)
    temperatures: list[float] = []
    for finding in range(logits.shape[1]):
        known = ~np.isnan(one.said[:, finding])
        temperatures.append(fit_temperature(logits[known, finding], one.said[known, finding]))
    return replace(release, card=replace(release.card, temperatures=tuple(temperatures)))
