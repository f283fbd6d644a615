"""What a model says of the held-out images, and how good that is against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..client import training_set
from ..client.inputs import Failed, Inputs
from ..client.store import FrozenRecord
from ..models.checkpoint import Release
from ..models.metrics import auroc, bootstrap_by_patient, dice, pointing_hit
from ..models.transform import restore_map
from .readers import region_mask
from .results import Estimate
from .sites import Case, Site

if TYPE_CHECKING:
    from torch import Tensor

    from ..client.annotations import Proposal

Scores = NDArray[np.float64]
_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Images of one site ready for any model of the study's architecture.

    inputs: what the trainable part takes (N, ...), features when the backbone is frozen. cases: the image of each
    row. truth (N, F): 1 present, 0 absent, not a number where unknown. said (N, F): what the reader said, likewise.
    seen (N, 1, S, S): the images themselves where the network is fine, else none.
    """

    inputs: Tensor
    cases: tuple[Case, ...]
    truth: NDArray[np.float64]
    said: NDArray[np.float64]
    seen: tuple[NDArray[np.float32], ...] = ()

    @property
    def patients(self) -> NDArray[np.str_]:
        """Whose image each row is (N,)."""
        return np.array([case.truth.patient for case in self.cases])


def bench(site: Site, cases: Sequence[Case], release: Release) -> Bench:
    """The bench of some of a site's annotated images, by their current annotations."""
    current = site.node.store.current_annotations()
    by_instance = {case.row.id: case for case in cases}
    records = [
        FrozenRecord(case.row.id, 0, case.row.patient, current[case.row.id, 0].id)
        for case in cases
        if (case.row.id, 0) in current
    ]
    built = training_set.build(site.node.store, records, release)
    kept = tuple(by_instance[record.instance] for record in built.records)
    findings = len(release.card.task.findings)
    truth = np.array(
        [[np.nan if state is None else float(state) for state in case.truth.present] for case in kept], dtype=np.float64
    ).reshape(-1, findings)
    said = np.where(built.targets.assessed.numpy(), built.targets.labels.double().numpy(), np.nan)
    seen: tuple[NDArray[np.float32], ...] = ()
    if release.card.architecture.fine:
        loaded = Inputs(site.node.store, release.card.transform).load([(case.row, 0) for case in kept])
        seen = tuple(one for one in loaded if not isinstance(one, Failed))
    return Bench(built.inputs, kept, truth, said, seen)


def run_model(release: Release, inputs: Tensor) -> tuple[Scores, NDArray[np.float32]]:
    """Logits (N, F) and maps (N, F, h, w) of a release for a bench's inputs."""
    import torch

    from ..models.threads import one_thread

    network = release.network()
    module = network.trainable().eval()
    logits: list[NDArray[np.float64]] = []
    maps: list[NDArray[np.float32]] = []
    with one_thread() if network.frozen else nullcontext(), torch.inference_mode():
        for start in range(0, len(inputs), _BATCH):
            output = module(inputs[start : start + _BATCH].float())
            logits.append(output.logits.double().numpy())
            maps.append(output.maps.float().numpy())
    return np.concatenate(logits), np.concatenate(maps)


def finished(release: Release, maps: NDArray[np.float32], image: NDArray[np.floating]) -> NDArray[np.float32]:
    """The head's maps (F, h, w) of a network input (1, S, S) as the network gives them (see FindingNet.forward)."""
    if not release.card.architecture.fine:
        return maps
    import torch

    from ..models.guided import guided

    images = torch.from_numpy(image.astype(np.float32)).unsqueeze(0)
    return guided(torch.from_numpy(maps).unsqueeze(0), images)[0].numpy()


def mean_auroc(scores: Scores, truth: NDArray[np.float64]) -> float | None:
    """The mean over findings of the AUROC against the known truth (N, F); findings with one class do not count."""
    found: list[float] = []
    for finding in range(scores.shape[1]):
        known = ~np.isnan(truth[:, finding])
        value = auroc(scores[known, finding], truth[known, finding])
        if value is not None:
            found.append(value)
    return float(np.mean(found)) if found else None


def estimate(scores: Sequence[Scores], benches: Sequence[Bench], seed: int) -> Estimate | None:
    """The mean AUROC over the benches' images together, with its interval by patient."""
    # A patient is at one site only, but two sites may use the same identifier for different people.
    patients = np.concatenate([np.char.add(f"{number}/", one.patients) for number, one in enumerate(benches)])
    found = bootstrap_by_patient(
        mean_auroc, patients, np.concatenate(scores), np.concatenate([one.truth for one in benches]), seed=seed
    )
    return None if found is None else Estimate(*found)


def region_quality(
    one: Bench, maps: NDArray[np.float32], proposals: dict[str, Proposal], release: Release
) -> tuple[float | None, float | None]:
    """(Dice, pointing) over findings that are present and whose true mask is known.

    Dice is of the proposed regions, and 0 where none is proposed; pointing is the share of maps that peak inside the
    true mask. None where no true mask is known.
    """
    overlaps: list[float] = []
    hits: list[bool] = []
    for index, (case, image_maps) in enumerate(zip(one.cases, maps, strict=True)):
        row = case.row
        if not any(case.truth.present):
            continue
        found = finished(release, image_maps, one.seen[index]) if one.seen else image_maps
        for finding, key in enumerate(release.card.task.keys):
            mask = case.truth.mask_of(finding) if case.truth.present[finding] else None
            if mask is None or mask.shape != (row.rows, row.columns) or not mask.any():
                continue
            proposal = proposals.get(row.id)
            regions = [] if proposal is None else [one for one in proposal.regions if one.finding == key]
            overlaps.append(dice(region_mask(regions, row.rows, row.columns), mask))
            full = restore_map(found[finding], release.card.transform, row.rows, row.columns)
            hits.append(pointing_hit(full, mask))
    if not hits:
        return None, None
    return float(np.mean(overlaps)), float(np.mean(hits))
