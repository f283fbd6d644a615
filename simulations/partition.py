"""Who is at which hospital, and who is held out: always whole patients, always from a seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import StudyError
from .terms import SiteTerms

Label = tuple[bool, ...]
"""For each finding, whether any image of the patient shows it."""

Patients = frozenset[str]


@dataclass(frozen=True, slots=True)
class Split:
    """One hospital's patients: those trained on, those held out, and those that `train_share` leaves aside."""

    train: Patients
    held_out: Patients
    aside: Patients


def _divide(count: int, shares: Sequence[float]) -> list[int]:
    """`count` whole things in proportion to `shares`, by largest remainder."""
    weights = np.asarray(shares, dtype=np.float64) / np.sum(shares)
    exact = weights * count
    whole = np.floor(exact).astype(int)
    for index in np.argsort(-(exact - whole), kind="stable")[: count - int(whole.sum())]:
        whole[index] += 1
    return whole.tolist()


def by_label(labels: Mapping[str, Label]) -> list[tuple[Label, list[str]]]:
    """Patients grouped by their label, groups and patients sorted: the order that seeds act upon."""
    groups: dict[Label, list[str]] = defaultdict(list)
    for patient in sorted(labels):
        groups[labels[patient]].append(patient)
    return sorted(groups.items())


def divide_patients(
    labels: Mapping[str, Label], terms: SiteTerms, seed: int, looks: Mapping[str, float] | None = None
) -> dict[str, str]:
    """The hospital of every patient, for the partitions that draw it ("iid", "sizes", "dirichlet", "look").

    "dirichlet" follows Hsu, Qi and Brown 2019: the patients of each label are divided among the hospitals by a draw
    from a symmetric Dirichlet distribution of concentration alpha. "look" orders patients by `looks`, the measure of
    each patient's images (ties by the seed), and gives the first hospital the least of it, and so on; the seed moves
    nobody else. StudyError when a hospital is left with fewer than four patients, two to train on and two to hold out.
    """
    generator = np.random.default_rng([seed, 0x5117])
    sites = terms.names
    assigned: dict[str, str] = {}
    if terms.partition == "dirichlet":
        for _, patients in by_label(labels):
            order = generator.permutation(len(patients))
            counts = _divide(len(patients), generator.dirichlet([terms.alpha] * len(sites)).tolist())
            _assign(assigned, [patients[i] for i in order], sites, counts)
    else:
        patients = sorted(labels)
        ordered = [patients[i] for i in generator.permutation(len(patients))]
        if looks is not None:
            ordered.sort(key=lambda patient: looks[patient])
        counts = _divide(len(ordered), terms.sizes or [1.0] * len(sites))
        _assign(assigned, ordered, sites, counts)
    for site in sites:
        count = sum(1 for one in assigned.values() if one == site)
        if count < 4:
            raise StudyError(
                f"the partition leaves {site!r} with {count} patients",
                where="sites.partition",
                fix="name fewer hospitals, raise alpha, or choose another seed",
            )
    return assigned


def _assign(assigned: dict[str, str], patients: Sequence[str], sites: Sequence[str], counts: Sequence[int]) -> None:
    start = 0
    for site, count in zip(sites, counts, strict=True):
        for patient in patients[start : start + count]:
            assigned[patient] = site
        start += count


def hold_out(labels: Mapping[str, Label], share: float, seed: int) -> Patients:
    """The held-out patients of one hospital: `share` of them, drawn within each label so that the rare ones are on
    both sides wherever a label has two patients or more. At least one patient is on either side."""
    generator = np.random.default_rng([seed, 0x4E1D])
    groups = [[patients[i] for i in generator.permutation(len(patients))] for _, patients in by_label(labels)]
    total = min(max(round(share * len(labels)), 1), len(labels) - 1)
    counts = _divide(total, [len(group) for group in groups])
    held: list[str] = []
    for group, count in zip(groups, counts, strict=True):
        least = 1 if len(group) > 1 else 0
        held += group[: min(max(count, least), max(len(group) - 1, count if len(group) == 1 else 0))]
    return frozenset(held or groups[0][:1])


def split_patients(labels: Mapping[str, Label], terms: SiteTerms, seed: int) -> Split:
    """One hospital's patients by what they are for.

    `train_share` of those not held out are trained on, each label in proportion; the patients of a share are among
    those of every larger one, and the held-out ones are the same for all, so that a learning curve compares like with
    like.
    """
    held = hold_out(labels, terms.held_out, seed)
    rest = {patient: label for patient, label in labels.items() if patient not in held}
    generator = np.random.default_rng([seed, 0x5A4E])
    places: list[tuple[float, str]] = []
    for _, patients in by_label(rest):
        order = generator.permutation(len(patients))
        places += [((place + 0.5) / len(patients), patients[index]) for place, index in enumerate(order)]
    wanted = max(1, round(terms.train_share * len(rest)))
    train = frozenset(patient for _, patient in sorted(places)[:wanted])
    return Split(train, held, frozenset(rest) - train)


def nominal(patients: int, multiple: int) -> int:
    """A count rounded to the nearest multiple, and never to zero."""
    return max(multiple, multiple * round(patients / multiple))
