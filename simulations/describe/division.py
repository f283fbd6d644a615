"""A study's division: how many patients and images each hospital trains on and holds out, and how often each finding
is there. It is taken from the truth alone, before any image is imported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data import Hospital, Truth
from ..errors import StudyError
from ..look import patient_looks
from ..partition import split_patients
from ..report import figures
from ..study import Study
from ..terms import Look, PhantomData, TableData

_UNITS = {"intensity": "mean grey value", "noise": "noise in grey values", "resolution": "cycles across the image"}


@dataclass(frozen=True, slots=True)
class Side:
    """The training or the held-out side of a hospital. present, absent: images known to show each finding, or not."""

    patients: int
    images: int
    present: tuple[int, ...]
    absent: tuple[int, ...]

    def prevalence(self, finding: int) -> float | None:
        """The share of images that show a finding, of those where it is known; None where it is known of none."""
        known = self.present[finding] + self.absent[finding]
        return self.present[finding] / known if known else None


@dataclass(frozen=True, slots=True)
class SiteDivision:
    """One hospital. aside: patients left aside by train_share. look: mean over patients of the measure that the
    partition "look" divides by, None in other partitions."""

    name: str
    train: Side
    held_out: Side
    aside: int
    look: float | None


@dataclass(frozen=True, slots=True)
class Division:
    """All hospitals of a study. how: in words, how they came about. look: what patients are ordered by, "" for
    nothing."""

    study: str
    seed: int
    how: str
    findings: tuple[str, ...]
    look: str
    sites: tuple[SiteDivision, ...]

    @property
    def patients(self) -> int:
        """Patients of all hospitals who take part."""
        return sum(site.train.patients + site.held_out.patients for site in self.sites)

    @property
    def images(self) -> int:
        """Images of those patients."""
        return sum(site.train.images + site.held_out.images for site in self.sites)


def how(study: Study) -> str:
    """How the hospitals come about."""
    if isinstance(study.data, PhantomData):
        return "synthetic hospitals"
    sites = study.sites
    column = study.data.site if isinstance(study.data, TableData) else ""
    shares = f" in the proportions {', '.join(f'{one:g}' for one in sites.sizes)}" if sites.sizes else ""
    return {
        "column": f"the natural hospitals, by the column {column!r}",
        "iid": "patients divided at random among hospitals",
        "sizes": f"patients divided at random{shares}",
        "dirichlet": f"patients divided by label shares from a Dirichlet distribution (alpha {sites.alpha:g})",
        "look": f"patients ordered by the {sites.look} of their images and cut into hospitals{shares}",
    }[sites.partition]


def division_of(study: Study, hospitals: Sequence[Hospital]) -> Division:
    """The division of `hospitals`, as every training of the study with its seed will make it."""
    look: Look | None = study.sites.look if study.sites.partition == "look" else None
    return Division(
        study=study.name,
        seed=study.seed,
        how=how(study),
        findings=study.task.keys,
        look=f"{look}: {_UNITS[look]}" if look else "",
        sites=tuple(_site(study, hospital, look) for hospital in hospitals),
    )


def _site(study: Study, hospital: Hospital, look: Look | None) -> SiteDivision:
    labels = hospital.labels()
    if len(labels) < 2:
        raise StudyError(
            f"{hospital.name!r} has {figures.count(len(labels), 'patient')}, which leaves none to hold out",
            where=f"{study.file}, sites",
            fix="leave the hospital out of sites.names, or give it more patients",
        )
    split = split_patients(labels, study.sites, study.seed)
    by_patient: dict[str, list[Truth]] = defaultdict(list)
    for truth in hospital.truths.values():
        by_patient[truth.patient].append(truth)
    seen = None
    if look:
        files = ((one.patient, hospital.folder / one.source) for one in hospital.truths.values())
        seen = float(np.mean(list(patient_looks(files, look).values())))
    sides = [
        _side(len(study.task.keys), [by_patient[patient] for patient in sorted(side)])
        for side in (split.train, split.held_out)
    ]
    return SiteDivision(hospital.name, sides[0], sides[1], len(split.aside), seen)


def _side(findings: int, patients: Sequence[Sequence[Truth]]) -> Side:
    truths = [truth for one in patients for truth in one]
    return Side(
        patients=len(patients),
        images=len(truths),
        present=tuple(sum(one.present[finding] is True for one in truths) for finding in range(findings)),
        absent=tuple(sum(one.present[finding] is False for one in truths) for finding in range(findings)),
    )


def require_both_classes(study: Study, division: Division) -> None:
    """StudyError when a hospital would train on, or hold out, images of one class only of a finding."""
    if study.sites.one_class:
        return
    kind = "phantoms" if isinstance(study.data, PhantomData) else study.sites.partition
    remedy = {
        "phantoms": "give it more patients or another prevalence",
        "column": "leave it out of sites.names, or pool it with another in the table",
        "dirichlet": "raise sites.alpha, name fewer hospitals, or choose another seed",
    }.get(kind, "name fewer hospitals, choose another seed, or divide otherwise")
    for site in division.sites:
        for side, doing in ((site.train, "to train on"), (site.held_out, "held out")):
            for finding, key in enumerate(division.findings):
                for count, word in ((side.present[finding], "with"), (side.absent[finding], "without")):
                    if count == 0:
                        raise StudyError(
                            f"the partition leaves {site.name!r} no image {word} {key!r} {doing}, so the site has one "
                            "class only",
                            where=f"{study.file}, sites",
                            fix=f"{remedy}; or set sites.one_class = true, and the hospital has no AUROC of its own",
                        )
