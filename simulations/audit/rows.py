"""Training rows with some patients left out, or others put beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...client.store import FrozenRecord
from ...client.training_set import TrainingSet

if TYPE_CHECKING:
    from torch import Tensor


def kept(rows: TrainingSet, patients: NDArray[np.bool_]) -> TrainingSet:
    """The rows of the patients (P,) that are True, numbered anew without gaps."""
    import torch

    taken = np.flatnonzero(patients[rows.patients])
    index = torch.from_numpy(taken)
    return replace(
        rows,
        inputs=rows.inputs[index],
        targets=rows.targets.rows(index),
        patients=(np.cumsum(patients) - 1)[rows.patients[taken]].astype(np.int64),
        records=tuple(rows.records[one] for one in taken),
    )


def beside(rows: TrainingSet, inputs: Tensor, labels: NDArray[np.bool_], images: int = 1) -> TrainingSet:
    """The rows and further patients after them: one for each of `inputs` (n, ...) with its labels (n, F), in `images`
    equal rows, with every finding assessed and no region drawn."""
    import torch

    from ...models.loss import Targets

    added, before = len(inputs) * images, rows.targets
    labelled = torch.from_numpy(np.repeat(labels, images, axis=0).astype(np.float32))
    numbers = rows.patient_count + np.repeat(np.arange(len(inputs), dtype=np.int64), images)
    assessed = torch.ones(labelled.shape, dtype=torch.bool)
    regions = torch.zeros((added, *before.regions.shape[1:]), dtype=before.regions.dtype)
    return replace(
        rows,
        inputs=torch.cat([rows.inputs, inputs.repeat_interleave(images, dim=0).to(rows.inputs.dtype)]),
        targets=Targets(
            torch.cat([before.labels, labelled]),
            torch.cat([before.assessed, assessed]),
            torch.cat([before.regions, regions]),
            torch.cat([before.drawn, ~assessed]),
        ),
        patients=np.concatenate([rows.patients, numbers]),
        records=rows.records + tuple(FrozenRecord(f"canary {one}", 0, f"canary {one}", "") for one in numbers),
    )
