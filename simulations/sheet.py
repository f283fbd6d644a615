"""The report's sheet: a few held-out images of every hospital with heatmap, proposed region and truth, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..client.pixels import render
from ..models.checkpoint import Release
from ..models.transform import restore_map
from .readers import region_mask
from .results import SheetImage
from .scoring import Bench
from .sites import Site

if TYPE_CHECKING:
    from ..client.annotations import Proposal

IMAGES = 8
"""About how many images a sheet shows, at least two of every hospital."""


def _png(values: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", optimize=True)
    return out.getvalue()


def _mask_png(mask: NDArray[np.bool_] | None) -> bytes:
    return b"" if mask is None or not mask.any() else _png(mask.astype(np.uint8) * 255)


def _choose(one: Bench, count: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """(row, finding) of `count` images: all but the last show the finding, findings in turn, no patient twice."""
    chosen: list[tuple[int, int]] = []
    used: set[str] = set()
    findings = one.truth.shape[1]
    for place in range(count):
        finding, wanted = place % findings, 0.0 if place == count - 1 else 1.0
        fitting = [int(row) for row in np.flatnonzero(one.truth[:, finding] == wanted)]
        fitting = [row for row in fitting if one.cases[row].truth.patient not in used]
        if fitting:
            row = int(generator.choice(fitting))
            used.add(one.cases[row].truth.patient)
            chosen.append((row, finding))
    return chosen


def make_sheet(
    sites: Sequence[Site],
    benches: Sequence[Bench],
    releases: Sequence[Release],
    proposals: Sequence[dict[str, Proposal]],
    seed: int,
) -> tuple[SheetImage, ...]:
    """Images chosen by the seed; `releases` and `proposals` are each site's own, aligned with `sites`."""
    import torch

    from ..models.heatmap import grad_cam

    generator = np.random.default_rng([seed, 0x5EE7])
    pictures: list[SheetImage] = []
    count = max(2, IMAGES // len(sites))
    for site, one, release, mine in zip(sites, benches, releases, proposals, strict=True):
        net = release.network()
        keys = release.card.task.keys
        for row_number, finding in _choose(one, count, generator):
            case = one.cases[row_number]
            row = case.row
            proposal = mine.get(row.id)
            if proposal is None or not proposal.applicable:
                continue
            image = render(site.node.store.content(row.id), row.encoding).image
            prepared = torch.from_numpy(_input(image, release))
            heat = grad_cam(net, prepared, finding)[0].numpy()
            full = np.clip(restore_map(heat, release.card.transform, row.rows, row.columns), 0.0, 1.0)
            regions = [region for region in proposal.regions if region.finding == keys[finding]]
            pictures.append(
                SheetImage(
                    site=site.name,
                    source=row.source,
                    finding=keys[finding],
                    probability=dict(proposal.probabilities)[keys[finding]],
                    present=case.truth.present[finding] is True,
                    image=_png((np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)),
                    heatmap=_png((full * 255.0).astype(np.uint8)),
                    proposed=_mask_png(region_mask(regions, row.rows, row.columns)),
                    truth=_mask_png(case.truth.mask_of(finding)),
                )
            )
    return tuple(pictures)


def _input(image: NDArray[np.float32], release: Release) -> NDArray[np.float32]:
    from ..models.transform import prepare

    return prepare(image, release.card.transform)[np.newaxis]
