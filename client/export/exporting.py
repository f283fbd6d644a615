"""One export: every result, object after object, to one place, with an account of what is there and what is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..audit_log import this_user
from ..deidentify.original import Original
from ..releases import Releases
from ..store import InstanceRow, Store
from .destination import Destination, Proof
from .errors import ExportError, PacsError
from .heatmaps import Heatmaps
from .identity import geometry_of
from .journal import Journal
from .objects import Made, What, Workshop
from .results import Gathered, Models, Result, Silent, gather

# Called with (images settled so far, images in all).
Progress = Callable[[int, int], None]

_NO_ORIGINAL = (
    "it did not come from a PACS (a table's image, or imported without de-identification), so that there is no patient "
    "and study to send it back to; researchers' formats hold it"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be exported. signed: (name, organisation) of who is accountable for every reviewed report, or None.

    again: whether to send what is known to be there already. instances: the store's ids of the images, None: all.
    """

    what: tuple[What, ...]
    signed: tuple[str, str] | None = None
    again: bool = False
    instances: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that is not where it should be, and why. instance: the store's id; kind: "" for the whole image."""

    instance: str
    frame: int
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What became of an export. saved: objects that are known to be there since now, by kind, and how that is known.

    already: objects that were there before. refused: what is not there, each with its reason. silent: frames that say
    nothing. stopped: why nothing more could be brought there ("" when all was tried).
    """

    destination: str
    saved: tuple[tuple[str, int], ...]
    proofs: tuple[tuple[str, int], ...]
    already: int
    signed: int
    refused: tuple[Refused, ...]
    silent: tuple[tuple[str, int], ...]
    stopped: str
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether everything asked for is there."""
        return not self.refused and not self.stopped


class Exporter:
    """Exports from one store to one destination. journal: the node's record of exports."""

    def __init__(self, store: Store, releases: Releases, journal: Journal, workshop: Workshop) -> None:
        self._store = store
        self._releases = releases
        self._journal = journal
        self._workshop = workshop

    def run(self, request: Request, destination: Destination, progress: Progress | None = None) -> ExportReport:
        """Export what was asked for; what cannot be brought there is in the report, and not said to be saved."""
        started = time.perf_counter()
        models = Models(self._releases)
        rows = self._store.instances(ids=request.instances)
        said = gather(self._store, models, rows)
        account = _Account(destination.name)
        self._store.trail.append("export", this_user(), images=len(rows), kinds=" ".join(request.what))
        run = _Run(self._store, self._releases, self._journal, self._workshop, said, request, destination, account)
        try:
            for count, row in enumerate(rows, 1):
                run.image(row)
                if progress is not None:
                    progress(count, len(rows))
        except PacsError as fault:
            account.stopped = str(fault)
        return account.report(said.silent, time.perf_counter() - started)


class _Account:
    """Counts of one export."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self.saved: dict[str, int] = {}
        self.proofs: dict[str, int] = {}
        self.already = 0
        self.signed = 0
        self.refused: list[Refused] = []
        self.stopped = ""

    def report(self, silent: Sequence[Silent], seconds: float) -> ExportReport:
        reasons: dict[str, int] = {}
        for one in silent:
            reasons[one.reason] = reasons.get(one.reason, 0) + 1
        return ExportReport(
            destination=self.destination,
            saved=tuple(self.saved.items()),
            proofs=tuple(self.proofs.items()),
            already=self.already,
            signed=self.signed,
            refused=tuple(self.refused),
            silent=tuple(reasons.items()),
            stopped=self.stopped,
            seconds=seconds,
        )


@dataclass(slots=True)
class _Run:
    """One export under way."""

    store: Store
    releases: Releases
    journal: Journal
    workshop: Workshop
    said: Gathered
    request: Request
    destination: Destination
    account: _Account
    heatmaps: Heatmaps | None = None

    def image(self, row: InstanceRow) -> None:
        """Everything that is said of one image. Segmentations go first, since reports refer to them."""
        wanted = list(self._wanted(row))
        if not wanted:
            return
        original = self.store.original(row.id)
        if original is None:
            self._refuse(row, 0, "", _NO_ORIGINAL)
            return
        for kind, result in wanted:
            try:
                self._object(kind, result, original)
            except PacsError:
                self._refuse(row, result.frame, kind, "the PACS broke off while it was sent")
                raise
            except ExportError as fault:
                self._refuse(row, result.frame, kind, str(fault))

    def _wanted(self, row: InstanceRow) -> Iterator[tuple[What, Result]]:
        what, results = self.request.what, self.said.results.get(row.id, ())
        wanted: list[tuple[What, Sequence[Result]]] = [
            ("regions", [result for result in results if result.places]),
            ("heatmaps", self._heatmaps_of(row)),
            ("findings", results),
        ]
        return ((kind, result) for kind, some in wanted if kind in what for result in some)

    def _heatmaps_of(self, row: InstanceRow) -> list[Result]:
        """One result for each finding that the model calls present: each map is an object of its own, since those of a
        large image together would take more memory than a small machine has."""
        found = self.said.models.get(row.id)
        present = [] if found is None else [said for said in found.said if said.state == "present"]
        return [] if found is None else [replace(found, said=(said,), places=()) for said in present]

    def _object(self, kind: What, result: Result, original: Original) -> None:
        with_regions = "regions" in self.request.what
        signed = self.request.signed if result.reviewed and kind == "findings" else None
        key = self.workshop.key(kind, result, with_regions, signed)
        where, remembered = self.destination.name, self.destination.remembered
        if remembered and self.journal.saved(where, key) and not self.request.again:
            self.account.already += 1
            return
        earlier = None
        if kind == "findings" and remembered:
            earlier = self.journal.report_of(where, (result.id, *result.earlier), but=key)
        made = self.workshop.make(
            kind,
            result,
            original,
            with_regions=with_regions,
            signature=None if signed is None else self.journal.sign(key, *signed),
            predecessors=() if earlier is None else (earlier,),
            geometry=None if kind == "findings" else self._geometry(result, original),
            maps=self._maps(result) if kind == "heatmaps" else None,
        )
        if made is None:
            return
        if not self.request.again and self.destination.holds(made):
            self.account.already += 1
            return
        proof = self.destination.save(made)
        self._note(made, result.frame, proof, signed)

    def _note(self, made: Made, frame: int, proof: Proof, signed: tuple[str, str] | None) -> None:
        who = this_user() if signed is None else signed[0]
        self.store.trail.append(
            "export",
            who,
            instance=made.instance,
            frame=frame,
            object=made.key,
            what=made.kind,
            proof=proof,
            signed=signed is not None,
        )
        if self.destination.remembered:
            self.journal.note(self.destination.name, made, proof)
        self.account.saved[made.kind] = self.account.saved.get(made.kind, 0) + 1
        self.account.proofs[proof] = self.account.proofs.get(proof, 0) + 1
        self.account.signed += signed is not None

    def _geometry(self, result: Result, original: Original) -> Dataset | None:
        return geometry_of(original, lambda: self.store.content(result.instance.id))

    def _maps(self, result: Result) -> NDArray[np.float32]:
        if self.heatmaps is None:
            release = self.releases.current()
            if release is None:
                raise ExportError("no release proposes here, so that there are no heatmaps", where=result.instance.id)
            self.heatmaps = Heatmaps(self.store, release)
        return np.stack([self.heatmaps.of(result.instance, said.finding.key) for said in result.said])

    def _refuse(self, row: InstanceRow, frame: int, kind: str, reason: str) -> None:
        self.account.refused.append(Refused(row.id, frame, kind, reason))
        self.store.trail.append("refusal", this_user(), instance=row.id, frame=frame, what=kind or "export")
