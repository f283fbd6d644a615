"""report.html: the page of a study, written from a StudyResult alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..results import SheetImage, SiteResult, StudyResult
from . import figures, statements
from .document import Report, figures_digest, to_document
from .pages import beside, data_uri, pictures, rendered
from .plots import PLOTS, overlay


@dataclass(frozen=True, slots=True)
class Tile:
    """A key figure with its label and its qualification."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Row:
    """A hospital's line of the page's tables, every figure already written."""

    name: str
    patients: str
    trained: str
    held_out: str
    images: str
    before: str
    before_interval: str
    alone: str
    alone_interval: str
    after: str
    after_interval: str
    saved: str
    accept_all: str
    epsilon: str
    cap: str
    delta: str
    noise: str
    sent: str


@dataclass(frozen=True, slots=True)
class Card:
    """An image of the sheet with its caption; the pictures are data URIs."""

    image: str
    heat: str
    regions: str
    site: str
    source: str
    finding: str
    stated: str
    truth: str


@dataclass(frozen=True, slots=True)
class KeptOut:
    """The files that one hospital could not use."""

    site: str
    count: str
    reasons: str
    files: tuple[tuple[str, str], ...]


def render(report: Report, plots: Mapping[str, bytes]) -> str:
    """The page's HTML; `plots` are the PNG bytes of `plots.draw_all`."""
    result = report.result
    return rendered(
        beside(__name__, "templates").joinpath("report.html"),
        result=result,
        headline=statements.headline(result),
        leads=statements.comparisons(result),
        synthetic=result.synthetic,
        notices=statements.notices(result),
        guarantee=statements.guarantee(result),
        tiles=_tiles(result),
        rows=[_row(site) for site in result.sites],
        findings=_listed(result.findings),
        absences=_absences(result),
        cards=[_card(image) for image in result.sheet],
        quarantined=[_kept_out(site) for site in result.sites if site.quarantined],
        digest=figures_digest(to_document(report)),
        pictures=pictures(plots, {plot.name: plot.alternative for plot in PLOTS}),
        command=report.command,
        facts=_facts(result),
    )


def _tiles(result: StudyResult) -> list[Tile]:
    effort = statements.effort_sums([site.effort for site in result.sites])
    spent = max((site.epsilon for site in result.sites), default=0.0)
    before = "" if result.auroc_before is None else f"before {figures.with_interval(result.auroc_before)}"
    after = result.federated
    return [
        Tile("AUROC, federated", figures.auroc(after.value if after else None), before),
        Tile(
            "Actions saved",
            figures.percent(effort.saved),
            f"accept-all would save {figures.percent(effort.accept_all_saved)}",
        ),
        Tile(
            "Epsilon spent, at most",
            figures.epsilon(spent),
            f"of {figures.cap(max((site.epsilon_cap for site in result.sites), default=math.inf))} at each hospital",
        ),
        Tile(
            "Sent by all hospitals", figures.size(result.bytes_sent), f"in {figures.count(len(result.rounds), 'round')}"
        ),
    ]


def _row(site: SiteResult) -> Row:
    effort = statements.effort_sums([site.effort])
    return Row(
        name=site.name,
        patients=f"{site.patients:,}",
        trained=f"{site.train_patients:,}",
        held_out=f"{site.held_out_patients:,}",
        images=f"{site.images:,}",
        before=figures.auroc(site.auroc_before.value if site.auroc_before else None),
        before_interval=figures.interval(site.auroc_before),
        alone=figures.auroc(site.auroc_alone.value if site.auroc_alone else None),
        alone_interval=figures.interval(site.auroc_alone),
        after=figures.auroc(site.auroc_after.value if site.auroc_after else None),
        after_interval=figures.interval(site.auroc_after),
        saved=figures.percent(effort.saved),
        accept_all=figures.percent(effort.accept_all_saved),
        epsilon=figures.epsilon(site.epsilon),
        cap=figures.cap(site.epsilon_cap),
        delta=f"{site.delta:.2g}",
        noise=f"{site.noise_multiplier:.3g}",
        sent=figures.size(site.bytes_sent),
    )


def _card(image: SheetImage) -> Card:
    grey, heat, regions = (data_uri(overlay.encode(picture)) for picture in overlay.pictures(image))
    return Card(
        image=grey,
        heat=heat,
        regions=regions,
        site=image.site,
        source=image.source,
        finding=image.finding,
        stated=figures.percent(image.probability),
        truth="present" if image.present else "absent",
    )


def _kept_out(site: SiteResult) -> KeptOut:
    reasons = "; ".join(f"{count} × {reason}" for reason, count in statements.quarantine_counts(site))
    return KeptOut(site.name, figures.count(len(site.quarantined), "file"), reasons, site.quarantined)


def _absences(result: StudyResult) -> str:
    return "; ".join(f"{', '.join(done.missing)} in round {done.round}" for done in result.rounds if done.missing)


def _facts(result: StudyResult) -> list[tuple[str, str]]:
    return [
        ("model", f"{result.model}, {result.parameters:,} trained parameters"),
        ("release", result.release),
        ("engine", result.engine),
        ("aggregation", result.aggregation),
        ("privacy mode", statements.mode(result)),
        ("wall clock", figures.duration(result.seconds)),
        *result.versions,
    ]


def _listed(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return f"one finding, {names[0]}"
    return f"{', '.join(names[:-1])} and {names[-1]}"
