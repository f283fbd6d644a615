"""What is trained in a study: the federation, each hospital alone on the same terms, and all data pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..client import training_set
from ..models.checkpoint import Release
from ..privacy.plan import Plan, PlanSite, PrivacyTerms
from ..server.outcome import Outcome
from ..server.progress import Event, RoundFinished
from .engine import EngineName, federate, processes
from .engine.federate import SETTINGS
from .pretraining import pretrained
from .sites import Site, apart
from .study import Study

POOLED_BATCH = 32
"""Patients in one step of the pooled comparison."""


def starting_release(study: Study, beside: Path) -> Release:
    """The release that every training of the study starts from: random, packaged, or trained on generated images, in
    which case it is kept in `beside`."""
    release = study.model.release(study.task, study.seed)
    return release if study.pretraining is None else pretrained(release, study.pretraining, study.seed, beside)


def privacy_terms(study: Study, nominal: Sequence[int]) -> PrivacyTerms:
    """The study's privacy with calibrated noise.

    PlanError, with the figures that would work, when delta is not below the inverse of the largest nominal count or
    the noise would be above the study's maximum.
    """
    return study.plan.privacy(nominal)


def make_plan(study: Study, release: Release, sites: Sequence[Site], privacy: PrivacyTerms) -> Plan:
    """The study's plan for these sites."""
    return study.plan.plan(
        consortium=f"simulation of {study.name}",
        name=study.name,
        task=study.task,
        release=release,
        sites=[PlanSite(site.name, site.nominal, site.nominal_held_out) for site in sites],
        privacy=privacy,
        seed=study.seed,
    )


def train_together(
    study: Study,
    sites: Sequence[Site],
    plan: Plan,
    release: Release,
    out: Path,
    engine: EngineName,
    advance: Callable[[int], None],
) -> Outcome:
    """The federation. `advance` is told how many rounds are finished. Other processes open the nodes themselves."""

    def watch(event: Event) -> None:
        if isinstance(event, RoundFinished):
            advance(event.log.round)

    settings = replace(SETTINGS, synthetic=study.synthetic)
    if engine == "inprocess":
        return federate({site.name: site.node for site in sites}, plan, release, out, on_event=watch, settings=settings)
    for site in sites:
        site.close()
    try:
        if engine == "processes":
            folders = {site.name: site.node.folder for site in sites}
            secure = replace(processes.SETTINGS, synthetic=study.synthetic)
            return processes.federate_in_processes(folders, plan, release, out, watch, secure)
        return federate(
            {site.name: site.node.folder for site in sites},
            plan,
            release,
            out,
            engine,
            sites[0].rights,
            on_event=watch,
            settings=settings,
        )
    finally:
        for site in sites:
            site.reopen()


def train_alone(study: Study, site: Site, plan: Plan, release: Release, out: Path) -> Release:
    """One hospital by itself under the same plan, steps and epsilon: the same node code on a ledger of its own."""
    node = apart(site, out / "node", study)
    alone = replace(
        plan,
        name=f"{plan.name}, {site.name} alone",
        sites=tuple(one for one in plan.sites if one.name == site.name),
        quorum=1,
        privacy=replace(plan.privacy, colluding=0),
        evaluation=None,
    )
    settings = replace(SETTINGS, synthetic=study.synthetic)
    return federate({site.name: node}, alone, release, out / "run", settings=settings).release


def train_pooled(
    study: Study,
    sets: Sequence[training_set.TrainingSet],
    plan: Plan,
    release: Release,
    advance: Callable[[int], None],
) -> Release:
    """All hospitals' training rows in one place and no privacy: what no federation can be expected to beat.

    Adam (Kingma and Ba 2015) on batches of patients, each patient counting once as the mean over their images.
    `advance` is told how many epochs are done.
    """
    import torch

    from ..models.loss import Targets, image_losses
    from ..models.threads import one_thread

    inputs = torch.cat([one.inputs for one in sets])
    targets = Targets(
        *(
            torch.cat([getattr(one.targets, name) for one in sets])
            for name in ("labels", "assessed", "regions", "drawn")
        )
    )
    rows_of: list[np.ndarray[tuple[int], np.dtype[np.intp]]] = []
    start = 0
    for one in sets:
        rows_of += [start + np.flatnonzero(one.patients == patient) for patient in range(one.patient_count)]
        start += len(one.patients)
    net = release.network()
    module = net.trainable().train()
    if net.head.centre is not None:  # without privacy, the mean itself
        means = [inputs[torch.from_numpy(rows)].float().mean(dim=(0, 2, 3)) for rows in rows_of]
        with torch.no_grad():
            net.head.centre.weight.copy_(torch.stack(means).mean(dim=0))
    weights = torch.tensor(plan.training.finding_weights, dtype=torch.float32)
    optimiser = torch.optim.Adam(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        lr=study.compare.pooled_learning_rate,
    )
    generator = np.random.default_rng([study.seed, 0x9001])
    with one_thread() if net.frozen else nullcontext():
        for epoch in range(study.compare.pooled_epochs):
            order = generator.permutation(len(rows_of))
            for first in range(0, len(order), POOLED_BATCH):
                batch = [rows_of[index] for index in order[first : first + POOLED_BATCH]]
                rows = torch.from_numpy(np.concatenate(batch))
                share = torch.from_numpy(np.concatenate([np.full(len(one), 1.0 / len(one)) for one in batch])).float()
                losses = image_losses(
                    module(inputs[rows].float()), targets.rows(rows), weights, plan.training.region_weight
                )
                optimiser.zero_grad()
                ((losses * share).sum() / len(batch)).backward()
                optimiser.step()
            advance(epoch + 1)
    return Release.of(net.eval(), release.card)
