"""A study's hospitals, gathered and looked through before anything runs: what cannot work is said with the fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .data import Hospital, collect
from .describe import text
from .describe.division import Division, division_of, require_both_classes
from .errors import StudyError
from .estimate import memory_of, require_memory
from .progress import Progress, Told
from .study import Study
from .terms import PhantomData
from .training import starting_release

_PHANTOM_IMAGES = 2
"""A phantom patient has one to three images."""


def gather(
    study: Study, data: Path | None, out: Path, advance: Callable[[int], None]
) -> tuple[tuple[Hospital, ...], Division]:
    """The study's hospitals, collected under `out`, and their division.

    StudyError when the data cannot be used, a quorum is more than the hospitals, or a hospital is left with one class;
    StudyRefusedError when the study is larger than memory.
    """
    if isinstance(study.data, PhantomData):
        # Before they are drawn: somebody may have typed a zero too many.
        expected = _PHANTOM_IMAGES * sum(one.patients for one in study.data.hospitals)
        require_quorum(study, len(study.data.hospitals))
        require_fits(study, expected)
    hospitals = collect(study, data, out, advance)
    require_quorum(study, len(hospitals))
    division = division_of(study, hospitals)
    require_both_classes(study, division)
    require_fits(study, division.images)
    return hospitals, division


def require_quorum(study: Study, hospitals: int) -> None:
    """StudyError when the quorum is more than there are hospitals."""
    if study.plan.quorum > hospitals:
        raise StudyError(
            f"a quorum of {study.plan.quorum} out of {hospitals} hospitals",
            where=f"{study.file}, plan.quorum",
            fix=f"choose 1 to {hospitals}",
        )


def require_fits(study: Study, images: int) -> None:
    """StudyRefusedError when that many images do not fit into memory."""
    # Generated pre-training images do not change the sizes, and would take minutes to train on.
    require_memory(study, memory_of(study, starting_release(replace(study, pretraining=None), Path()), images))


def show(division: Division, out: Path, progress: Progress) -> None:
    """Tell the watcher of the division, and keep it in `out`."""
    progress(Told(text.table(division)))
    keep(division, out)


def keep(division: Division, out: Path) -> list[Path]:
    """Write partition.json, partition.csv and plots/partition.png into `out`, and return their paths."""
    from .describe import plot

    paths = [out / "partition.json", out / "partition.csv", out / "plots" / "partition.png"]
    paths[-1].parent.mkdir(parents=True, exist_ok=True)
    paths[0].write_text(text.dump(division), encoding="utf-8")
    paths[1].write_text(text.rows(division), encoding="utf-8")
    paths[2].write_bytes(plot.png(division))
    return paths
