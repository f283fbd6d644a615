"""What became of every file that was offered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Called with (files settled so far, files in all); from the thread that called the import.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file that was not imported: its path as the user knows it, a stable code, and a sentence."""

    source: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class IntakeReport:
    """The outcome of one import: `imported` new images, `duplicates` already held, and the rest in quarantine.

    imported + duplicates + len(quarantined) is the number of files offered. `patients` counts those to whom the
    imported and duplicate images belong; `labelled` the images whose labels became annotations (tables only); `masked`
    the new images in which text was suspected and blackened.
    """

    imported: int
    duplicates: int
    patients: int
    quarantined: tuple[Quarantined, ...]
    labelled: int = 0
    masked: int = 0

    @property
    def offered(self) -> int:
        return self.imported + self.duplicates + len(self.quarantined)

    def by_code(self) -> dict[str, int]:
        """How many files are in quarantine for each code, most frequent first."""
        return dict(Counter(item.code for item in self.quarantined).most_common())


def together(reports: Sequence[IntakeReport]) -> IntakeReport:
    """Several reports as one; a patient met in two of them counts twice."""
    return IntakeReport(
        imported=sum(report.imported for report in reports),
        duplicates=sum(report.duplicates for report in reports),
        patients=sum(report.patients for report in reports),
        quarantined=tuple(item for report in reports for item in report.quarantined),
        labelled=sum(report.labelled for report in reports),
        masked=sum(report.masked for report in reports),
    )
