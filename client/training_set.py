"""Frozen records made into what the trainer takes: inputs or cached features, targets, and whose image each row is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..models.card import ModelCard
from ..models.transform import prepare_mask
from .annotations import Annotation, Box
from .inputs import Failed, Inputs
from .ordered import in_order
from .store import FrozenRecord, InstanceRow, Store

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.checkpoint import Release
    from ..models.loss import Targets
    from ..models.network import FindingNet

Progress = Callable[[int, int], None]
_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """N training rows.

    inputs: float32 images (N, 1, S, S), or, when `features` is true, float16 features (N, C, h, w) of the frozen
    backbone, for its head (call `.float()` on the rows in use: half precision halves what is kept and cached).
    targets: N rows on the map grid. patients: int64 (N,), the patient of each row, numbered from 0 in the order of
    `records` without gaps. records: the frozen record of each row. failed: records whose image did not decode, which
    have no row.
    """

    inputs: Tensor
    features: bool
    targets: Targets
    patients: NDArray[np.int64]
    records: tuple[FrozenRecord, ...]
    failed: tuple[Failed, ...]

    @property
    def patient_count(self) -> int:
        """How many patients the rows belong to."""
        return int(self.patients.max(initial=-1)) + 1


def build(
    store: Store,
    records: Sequence[FrozenRecord],
    release: Release,
    *,
    absent_is_empty: bool = True,
    threads: int = 2,
    progress: Progress | None = None,
) -> TrainingSet:
    """Build the training rows of frozen records for the task and network of `release`.

    A finding stated present or absent is a label of 1 or 0. One that is uncertain, not assessed or not stated is
    masked: it teaches nothing; so is a finding of the side that an image of one side does not show. Regions are the
    reader's, drawn or accepted, of findings stated present; their union becomes coverage of the map grid.
    `absent_is_empty`: a finding stated absent also teaches an empty region, for who says that a finding is nowhere has
    said where it is; False keeps region losses to what was drawn.

    With a frozen backbone, features are computed once for each image and kept in the store's cache under a hash of
    backbone and input transform, so that later rounds and plans on the same backbone read them back.
    """
    import torch

    from ..models.loss import Targets

    card = release.card
    annotations = store.annotations(record.annotation for record in records)
    rows = {row.id: row for row in store.instances(ids={record.instance for record in records})}
    net = release.network()
    load = _Features(store, net, card) if net.frozen else _Images(store, card)
    kept: list[FrozenRecord] = []
    inputs: list[Input] = []
    failed: list[Failed] = []
    for record, found in load.each([(record, rows[record.instance]) for record in records], threads):
        if isinstance(found, Failed):
            failed.append(found)
        else:
            kept.append(record)
            inputs.append(found)
        if progress is not None:
            progress(len(kept) + len(failed), len(records))
    grid = net.grid(card.transform.size)
    shape = (0, *load.shape(net))
    count, findings = len(kept), len(card.task.keys)
    labels = np.zeros((count, findings), np.float32)
    assessed, drawn = np.zeros((count, findings), np.bool_), np.zeros((count, findings), np.bool_)
    regions = np.zeros((count, findings, *grid), np.float32)
    for index, record in enumerate(kept):
        row = rows[record.instance]
        for finding, asked in enumerate(card.task.findings):
            if not asked.asked_of(row.laterality):
                continue
            key = asked.key
            state = dict(annotations[record.annotation].states).get(key, "not_assessed")
            assessed[index, finding] = state in ("present", "absent")
            labels[index, finding] = state == "present"
            union = _union(annotations[record.annotation], key, row) if state == "present" else None
            drawn[index, finding] = union is not None or (state == "absent" and absent_is_empty)
            if union is not None:
                regions[index, finding] = prepare_mask(union, card.transform, *grid)
    numbers: dict[str, int] = {}
    return TrainingSet(
        inputs=torch.from_numpy(np.stack(inputs) if inputs else np.zeros(shape, load.dtype)),
        features=net.frozen,
        targets=Targets(*(torch.from_numpy(array) for array in (labels, assessed, regions, drawn))),
        patients=np.array([numbers.setdefault(record.patient, len(numbers)) for record in kept], np.int64),
        records=tuple(kept),
        failed=tuple(failed),
    )


def _union(annotation: Annotation, key: str, row: InstanceRow) -> NDArray[np.bool_] | None:
    """The stored pixels (rows, columns) of all of a finding's regions, or None when there is no region."""
    shapes = [region.shape for region in annotation.regions if region.finding == key]
    if not shapes:
        return None
    union = np.zeros((row.rows, row.columns), np.bool_)
    for shape in shapes:
        union |= shape.mask(row.rows, row.columns) if isinstance(shape, Box) else shape.array()
    return union


Input = NDArray[np.float32] | NDArray[np.float16]
_Loaded = tuple[FrozenRecord, Input | Failed]


class _Images:
    """Loads records as network inputs."""

    dtype = np.float32

    def __init__(self, store: Store, card: ModelCard) -> None:
        self._inputs = Inputs(store, card.transform)
        self._card = card

    def shape(self, net: FindingNet) -> tuple[int, ...]:
        """The shape of one row's input."""
        return (1, self._card.transform.size, self._card.transform.size)

    def each(self, records: Sequence[tuple[FrozenRecord, InstanceRow]], threads: int) -> Iterator[_Loaded]:
        """Every record with its input or its failure, in order."""

        batches = [records[start : start + _BATCH] for start in range(0, len(records), _BATCH)]
        with ThreadPoolExecutor(max(1, threads), thread_name_prefix="decode") as pool:
            for loaded in in_order(pool, self._load, batches, 2 * threads):
                yield from loaded

    def _load(self, batch: Sequence[tuple[FrozenRecord, InstanceRow]]) -> list[_Loaded]:
        inputs = self._inputs.load([(row, record.frame) for record, row in batch])
        return [(record, found) for (record, _), found in zip(batch, inputs, strict=True)]


class _Features:
    """Loads records as features of the frozen backbone, computing what the cache does not hold."""

    dtype = np.float16

    def __init__(self, store: Store, net: FindingNet, card: ModelCard) -> None:
        self._store = store
        self._net = net
        self._images = _Images(store, card)
        self._frozen = frozen_hash(net, card)

    def shape(self, net: FindingNet) -> tuple[int, ...]:
        """The shape of one row's features."""
        import torch

        with torch.inference_mode():
            return tuple(net.features(torch.zeros(1, *self._images.shape(net))).shape[1:])

    def each(self, records: Sequence[tuple[FrozenRecord, InstanceRow]], threads: int) -> Iterator[_Loaded]:
        """Every record with its features or its failure, in order."""
        shape = self.shape(self._net)
        for start in range(0, len(records), _BATCH):
            batch = records[start : start + _BATCH]
            found = {record: self._cached(record, shape) for record, _ in batch}
            missing = [item for item in batch if found[item[0]] is None]
            computed = dict(self._compute(missing, threads)) if missing else {}
            for record, _ in batch:
                cached = found[record]
                yield record, computed[record] if cached is None else cached

    def _name(self, frame: int) -> str:
        return f"features-{self._frozen}-{frame}"

    def _cached(self, record: FrozenRecord, shape: tuple[int, ...]) -> NDArray[np.float16] | None:
        kept = self._store.cache_get(record.instance, self._name(record.frame))
        return None if kept is None else np.frombuffer(kept, np.float16).reshape(shape)

    def _compute(self, missing: Sequence[tuple[FrozenRecord, InstanceRow]], threads: int) -> Iterator[_Loaded]:
        import torch

        loaded = list(self._images.each(missing, threads))
        good = [(record, image) for record, image in loaded if not isinstance(image, Failed)]
        yield from ((record, image) for record, image in loaded if isinstance(image, Failed))
        if not good:
            return
        with torch.inference_mode():
            images = torch.from_numpy(np.stack([image for _, image in good]))
            features = self._net.features(images).half().numpy()
        for frame in {record.frame for record, _ in good}:
            items = [(r.instance, features[i].tobytes()) for i, (r, _) in enumerate(good) if r.frame == frame]
            self._store.cache_put_many(self._name(frame), items)
        yield from ((record, features[index]) for index, (record, _) in enumerate(good))


def frozen_hash(net: FindingNet, card: ModelCard) -> str:
    """Names what a frozen backbone computes: SHA-256, in hex, over its architecture, input transform and tensors.

    Blocks that are trained come after that and do not count.
    """
    spared = card.architecture.trained_blocks
    words: tuple[object, ...] = (card.architecture.backbone, card.transform)
    words += ((spared,) if spared else ()) + (("fine",) if net.fine else ())
    digest = hashlib.sha256(repr(words).encode())
    trained = {name for name, parameter in net.backbone.named_parameters() if parameter.requires_grad}
    for name, tensor in sorted(net.backbone.state_dict().items()):
        if name in trained:
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
