"""What a comparison says in words: how its hospitals came about, and what a reader of its figures should know."""

from __future__ import annotations

from collections.abc import Sequence

from ..describe.division import how
from ..report import figures
from ..study import Study
from ..terms import PhantomData
from .rows import Row


def partition(study: Study) -> str:
    """How the hospitals came about, and whether every seed has others."""
    drawn = not isinstance(study.data, PhantomData) and study.sites.partition not in ("column", "look")
    return f"{how(study)}, {'anew' if drawn else 'the same'} for every seed"


def notes(study: Study, rows: Sequence[Row], seeds: int, left_out: int) -> tuple[str, ...]:
    """What a reader of the figures should know."""
    said = [
        "Labels are the data set's own, without any reader in between; so are the masks that teach regions.",
        "Every row is tested on the same patients, whom nothing was trained on: those held out of each hospital, "
        "drawn anew for every seed.",
        "AUROC is by image and intervals are by patient: percentiles of bootstrap draws over all seeds together. "
        "The gap to pooled compares the same patients draw by draw.",
        "A hospital alone is private by itself (mode local): it has nobody to share noise with.",
        "Updates were summed in the clear and noise came from a seed: only a simulation may.",
    ]
    if study.synthetic:
        said.insert(0, "Every image is a synthetic phantom; the figures say nothing about patients.")
    if any(row.mode == "distributed" for row in rows):
        said.append("Distributed mode makes one local step a round, in as many rounds as local mode makes steps.")
    if seeds == 1:
        said.append("One seed is one division of the patients and one draw of noise: ask for several.")
    if left_out:
        said.append(f"{figures.count(left_out, 'image')} could not be used and were left out of every row.")
    for row in rows:
        share = f"{row.label}: refused in {row.refused} of {figures.count(row.refused + row.cells, 'training')}"
        said.extend(f"{share}: {reason}." for reason in row.reasons)
    return tuple(said)
