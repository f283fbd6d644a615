"""What the store holds, as the pages get it: dictionaries that JSON can carry."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..annotations import Annotation, Box, Proposal, Region
from ..store.desk import DeskRow
from .timeline import Timeline

if TYPE_CHECKING:
    from ...models.checkpoint import Release

Plain = dict[str, Any]


def hash_of(release: Release | None) -> str:
    """The hash of a release in hexadecimal; "" for none."""
    return "" if release is None else release.hash.hex()


def described(release: Release) -> Plain:
    """A release as the pages name it: what it looks for, and how its probabilities are calibrated."""
    card = release.card
    findings = [asdict(one) for one in card.task.findings]
    return {
        "hash": release.hash.hex(),
        "findings": findings,
        "temperatures": dict(zip(card.task.keys, card.temperatures, strict=True)),
        "plans": [record.plan for record in card.training],
    }


def plain_row(row: DeskRow) -> Plain:
    """An image without its pixels."""
    image = row.image
    return {
        "id": image.id,
        "frames": image.frames,
        "rows": image.rows,
        "columns": image.columns,
        "modality": image.modality,
        "body_part": image.body_part,
        "view": image.view,
        "laterality": image.laterality,
        "source": image.source,
        "acquired": row.acquired,
    }


def plain_line(line: Timeline) -> Plain:
    """A timeline: what undo and redo move along."""
    return {
        "said": [plain_annotation(one) for one in line.said],
        "at": line.at,
        "last": None if line.last is None else line.last.id,
    }


def plain_proposal(proposal: Proposal, current: str) -> Plain:
    """A proposal; current: the hash of the release that proposes now."""
    return {
        "id": proposal.id,
        "release": proposal.release,
        "earlier": proposal.release != current,
        "at": proposal.at.isoformat(),
        "applicable": proposal.applicable,
        "reason": proposal.reason,
        "probabilities": dict(proposal.probabilities),
        "regions": _regions(proposal.id, proposal.regions),
    }


def plain_annotation(annotation: Annotation) -> Plain:
    """What a reader said."""
    return {
        "id": annotation.id,
        "states": dict[str, str](annotation.states),
        "regions": _regions(annotation.id, annotation.regions),
        "comment": annotation.comment,
        "proposal": annotation.proposal,
        "weighed": list(annotation.weighed),
        "at_time": annotation.at.isoformat(),
    }


def _regions(owner: str, regions: Sequence[Region]) -> list[Mapping[str, Any]]:
    return [
        {"ref": f"{owner}:{place}", "finding": region.finding, "origin": region.origin, **_shape(region)}
        for place, region in enumerate(regions)
    ]


def _shape(region: Region) -> Plain:
    shape = region.shape
    if isinstance(shape, Box):
        return {"box": [shape.x0, shape.y0, shape.x1, shape.y1]}
    return {"mask": {"rows": shape.rows, "columns": shape.columns, "bits": base64.b64encode(shape.bits).decode()}}
