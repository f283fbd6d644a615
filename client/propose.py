"""Let a release propose findings and regions for stored images: decode, forward, store, all three overlapped."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..models.card import InputTransform, ModelCard
from ..models.errors import ModelError
from ..task import Task
from .annotations import Proposal, Region, new_id, utc_now
from .errors import NodeError
from .inputs import network_input
from .regions import Shape, propose_regions
from .store import InstanceRow, Store

if TYPE_CHECKING:
    from ..models.checkpoint import Release
    from ..models.head import Output

# Called with (images settled so far, images in all), from the thread that called `propose`.
Progress = Callable[[int, int], None]

# A region is proposed for a finding whose calibrated probability reaches this.
PRESENT_FROM = 0.5


@dataclass(frozen=True, slots=True)
class Failed:
    """An image for which nothing could be proposed, and why."""

    instance: str
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProposalReport:
    """What came of one run: images with findings proposed, images the release is not for, and failures."""

    proposed: int
    not_applicable: int
    failed: tuple[Failed, ...]
    seconds: float


def why_not_applicable(task: Task, row: InstanceRow) -> str:
    """Why the task does not ask of this image, or "" when it does.

    What the task leaves empty accepts anything; what it names must be stated by the image and equal.
    """
    for name, wanted, found in (
        ("modality", task.modality, row.modality),
        ("body part", task.body_part, row.body_part),
        ("view", task.view, row.view),
    ):
        if wanted and wanted.upper() != found.upper():
            stated = f"its {name} is {found}" if found else f"it states no {name}"
            return f"{stated}; the model is for {wanted}"
    return ""


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
    that is not applicable, with the reason and no finding. Probabilities are sigmoid(logit / temperature). Each
    batch is stored in one transaction, so that an interrupted run continues where it stopped. An image that does not
    decode is in the report and gets no proposal. `threads` (default 2) decode ahead of the network; torch's own
    threads are left as they are.
    """
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

    for start in range(0, len(outside), 256):
        store.add_proposals(outside[start : start + 256])
        settle(len(outside[start : start + 256]))
    failed: list[Failed] = []
    if applicable:
        network = _Network(release)
        with (
            ThreadPoolExecutor(max(1, threads or 2), thread_name_prefix="decode") as decoders,
            ThreadPoolExecutor(1, thread_name_prefix="record") as recorder,
        ):
            recorded: deque[Future[int]] = deque()
            for batch in _decoded(store, applicable, card.transform, decoders, batch_size):
                good = [(row, found) for row, found in batch if not isinstance(found, Failed)]
                failed += [found for _, found in batch if isinstance(found, Failed)]
                settle(len(batch) - len(good))
                if not good:
                    continue
                logits, maps = network(np.stack([found for _, found in good]))
                job = _Recording(store, card, name, [row for row, _ in good], logits, maps, shape)
                recorded.append(recorder.submit(job.write))
                # One batch is recorded while the next is computed; a fault of the store surfaces here.
                while len(recorded) > 1:
                    settle(recorded.popleft().result())
            while recorded:
                settle(recorded.popleft().result())
    seconds = time.perf_counter() - started
    return ProposalReport(len(applicable) - len(failed), len(outside), tuple(failed), seconds)


class _Network:
    """A release's network in inference mode: (B, 1, S, S) float32 -> logits (B, F) and maps (B, F, h, w)."""

    def __init__(self, release: Release) -> None:
        self._net = release.network()

    def __call__(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        import torch

        with torch.inference_mode():
            output: Output = self._net(torch.from_numpy(images))
        return output.logits.numpy(), output.maps.numpy()


_Decoded = tuple[InstanceRow, "NDArray[np.float32] | Failed"]


def _decoded(
    store: Store, rows: Sequence[InstanceRow], transform: InputTransform, pool: ThreadPoolExecutor, batch_size: int
) -> Iterator[list[_Decoded]]:
    """Batches of inputs in the order of `rows`, decoded up to two batches ahead."""

    def decode(row: InstanceRow) -> _Decoded:
        try:
            return row, network_input(store, row, 0, transform)
        except (NodeError, ModelError) as error:
            return row, Failed(row.id, row.source, error.what)

    waiting: deque[Future[_Decoded]] = deque()
    source = iter(rows)
    waiting.extend(pool.submit(decode, row) for row in islice(source, 3 * batch_size))
    while waiting:
        batch = [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))]
        waiting.extend(pool.submit(decode, row) for row in islice(source, batch_size))
        yield batch


@dataclass(frozen=True, slots=True, eq=False)
class _Recording:
    """One batch of network outputs on its way into the store."""

    store: Store
    card: ModelCard
    release: str
    rows: list[InstanceRow]
    logits: NDArray[np.float32]
    maps: NDArray[np.float32]
    shape: Shape

    def write(self) -> int:
        """Make the proposals and store them in one transaction; returns how many."""
        temperatures = np.array(self.card.temperatures, dtype=np.float64)
        scaled = self.logits.astype(np.float64) / temperatures
        chances = 1.0 / (1.0 + np.exp(-np.clip(scaled, -700.0, 700.0)))
        proposals = [self._proposal(index, row, chances[index]) for index, row in enumerate(self.rows)]
        self.store.add_proposals(proposals)
        return len(proposals)

    def _proposal(self, index: int, row: InstanceRow, chances: NDArray[np.float64]) -> Proposal:
        probabilities: list[tuple[str, float]] = []
        regions: list[Region] = []
        for finding, key in enumerate(self.card.task.keys):
            chance = float(chances[finding])
            if not math.isfinite(chance):
                raise ModelError(
                    f"the network gives no number for finding {key!r}",
                    where=row.source,
                    fix="check the release; its weights or its input transform are damaged",
                )
            probabilities.append((key, chance))
            if chance >= PRESENT_FROM:
                grid = self.maps[index, finding]
                regions += propose_regions(key, grid, self.card.transform, row.rows, row.columns, self.shape)
        return Proposal(
            id=new_id(),
            instance=row.id,
            frame=0,
            release=self.release,
            applicable=True,
            reason="",
            probabilities=tuple(probabilities),
            regions=tuple(regions),
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
