"""Let a release propose findings and regions for stored images, a few batches at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .annotations import Proposal, new_id, utc_now
from .applicability import why_not_applicable
from .inference import Inference, Said
from .inputs import Failed, Inputs
from .ordered import in_order
from .regions import Shape
from .store import InstanceRow, Store

if TYPE_CHECKING:
    from ..models.checkpoint import Release

# Called with (images settled so far, images in all), from the thread that called `propose`.
Progress = Callable[[int, int], None]

# Proposals of several batches go into one transaction: each one waits for the disk and rewrites the same pages.
_TRANSACTION = 128
_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class ProposalReport:
    """What came of one run: images with findings proposed, images the release is not for, and failures."""

    proposed: int
    not_applicable: int
    failed: tuple[Failed, ...]
    seconds: float


def propose(
    store: Store,
    release: Release,
    batch_size: int = 32,
    threads: int | None = None,
    progress: Progress | None = None,
    instances: Sequence[InstanceRow] | None = None,
    shape: Shape = "box",
) -> ProposalReport:
    """Propose for every stored image without a proposal of this release, or for the `instances` given.

    The first frame of an image is looked at. Images outside the release's modality, body part or view get a proposal
    that is not applicable, with the reason and no finding; an image of one side gets none of the other side's findings.
    Probabilities are sigmoid(logit / temperature). What is
    proposed is stored every hundred images or so, so that an interrupted run continues near where it stopped. An image
    that does not decode is in the report and gets no proposal.

    `threads` batches (default: as many as torch has threads, at most 8) are worked on at once, each decoded, passed
    through the network and searched for regions by one thread, while the caller's thread stores them in their order.
    On few cores that is faster than many threads inside each layer, which wait for one another while decoding has one
    of their cores; results do not depend on it.
    """
    import torch

    started = time.perf_counter()
    card, name = release.card, release.hash.hex()
    rows = store.without_proposal(name) if instances is None else list(instances)
    reasons = [why_not_applicable(card.task, row) for row in rows]
    applicable = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
    outside = [_not_applicable(row, reason, name) for row, reason in zip(rows, reasons, strict=True) if reason]
    settled = 0

    def settle(count: int) -> None:
        nonlocal settled
        settled += count
        if progress is not None and count:
            progress(settled, len(rows))

    for start in range(0, len(outside), _TRANSACTION):
        batch = outside[start : start + _TRANSACTION]
        store.add_proposals(batch)
        settle(len(batch))
    failed: list[Failed] = []
    if applicable:
        worker = _Worker(store, release, shape)
        batches = [applicable[start : start + batch_size] for start in range(0, len(applicable), batch_size)]
        before = torch.get_num_threads()
        width = max(1, min(threads or before, len(batches), _MOST_WORKERS))
        try:
            # The limit is each thread's own, but threads that begin later inherit the last one set: hence `finally`.
            with ThreadPoolExecutor(width, "propose", torch.set_num_threads, (max(1, before // width),)) as pool:
                waiting: list[Proposal] = []
                for proposals, faults in in_order(pool, worker, batches, width + 1):
                    failed += faults
                    settle(len(faults))
                    waiting += proposals
                    if len(waiting) >= _TRANSACTION:
                        store.add_proposals(waiting)
                        settle(len(waiting))
                        waiting = []
                store.add_proposals(waiting)
                settle(len(waiting))
        finally:
            torch.set_num_threads(before)
    seconds = time.perf_counter() - started
    return ProposalReport(len(applicable) - len(failed), len(outside), tuple(failed), seconds)


class _Worker:
    """Turns a batch of rows into proposals and failures: decode, forward, regions. Safe to share between threads."""

    def __init__(self, store: Store, release: Release, shape: Shape) -> None:
        self._inputs = Inputs(store, release.card.transform)
        self._release = release.hash.hex()
        self._ask = Inference(release, shape)

    def __call__(self, rows: Sequence[InstanceRow]) -> tuple[list[Proposal], list[Failed]]:
        found = list(zip(rows, self._inputs.load([(row, 0) for row in rows]), strict=True))
        good = [(row, image) for row, image in found if not isinstance(image, Failed)]
        failed = [image for _, image in found if isinstance(image, Failed)]
        if not good:
            return [], failed
        said = self._ask(np.stack([image for _, image in good]), [row for row, _ in good])
        return [self._proposal(row, one) for (row, _), one in zip(good, said, strict=True)], failed

    def _proposal(self, row: InstanceRow, said: Said) -> Proposal:
        return Proposal(
            id=new_id(),
            instance=row.id,
            frame=0,
            release=self._release,
            applicable=True,
            reason="",
            probabilities=said.probabilities,
            regions=said.regions,
            at=utc_now(),
        )


def _not_applicable(row: InstanceRow, reason: str, release: str) -> Proposal:
    return Proposal(
        id=new_id(),
        instance=row.id,
        frame=0,
        release=release,
        applicable=False,
        reason=reason,
        probabilities=(),
        regions=(),
        at=utc_now(),
    )
