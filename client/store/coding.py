"""Annotations and proposals as bytes and back: CBOR maps with a version, masks deflated (they are mostly runs)."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2

from ..annotations import Annotation, Box, Mask, Proposal, Region
from ..errors import StoreError

_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970 UTC; exact, where a float of seconds would not be."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def moment(value: int) -> datetime:
    """The UTC time of `value` microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


def pack(plain: dict[str, Any]) -> bytes:
    """A payload's bytes, with the version of its form."""
    return cbor2.dumps({"v": _VERSION, **plain})


def unpack(data: bytes) -> dict[str, Any]:
    """A payload read back; StoreError when a newer medquorum wrote it."""
    plain: dict[str, Any] = cbor2.loads(data)
    if plain.pop("v") != _VERSION:
        raise StoreError("a record was written by a newer medquorum", fix="update medquorum on this machine")
    return plain


def _pack_region(region: Region) -> dict[str, Any]:
    shape = region.shape
    if isinstance(shape, Box):
        form: dict[str, Any] = {"box": [shape.x0, shape.y0, shape.x1, shape.y1]}
    else:
        form = {"mask": [shape.rows, shape.columns, zlib.compress(shape.bits, 1)]}
    return {"finding": region.finding, "origin": region.origin, **form}


def _unpack_region(plain: dict[str, Any]) -> Region:
    if "box" in plain:
        shape: Box | Mask = Box(*plain["box"])
    else:
        rows, columns, bits = plain["mask"]
        shape = Mask(rows, columns, zlib.decompress(bits))
    return Region(plain["finding"], shape, plain["origin"])


def pack_proposal(proposal: Proposal) -> bytes:
    """What of a proposal is not in its event's own columns."""
    return pack(
        {
            "applicable": proposal.applicable,
            "reason": proposal.reason,
            "probabilities": proposal.probabilities,
            "regions": [_pack_region(region) for region in proposal.regions],
        }
    )


def unpack_proposal(data: bytes, identifier: str, instance: str, frame: int, release: str, at: int) -> Proposal:
    """The proposal of `pack_proposal`'s bytes and its event's columns."""
    plain = unpack(data)
    return Proposal(
        id=identifier,
        instance=instance,
        frame=frame,
        release=release,
        applicable=plain["applicable"],
        reason=plain["reason"],
        probabilities=tuple((finding, probability) for finding, probability in plain["probabilities"]),
        regions=tuple(_unpack_region(region) for region in plain["regions"]),
        at=moment(at),
    )


def pack_annotation(annotation: Annotation) -> bytes:
    """What of an annotation is not in its event's own columns."""
    seldom = {
        "comment": annotation.comment or None,
        "restates": annotation.restates,
        "as_lead": annotation.as_lead or None,
        "weighed": annotation.weighed or None,
    }
    return pack(
        {
            "reader": annotation.reader,
            "proposal": annotation.proposal,
            "states": annotation.states,
            "regions": [_pack_region(region) for region in annotation.regions],
            "actions": annotation.actions,
            "seconds": annotation.seconds,
            **{name: said for name, said in seldom.items() if said is not None},
        }
    )


def unpack_annotation(
    data: bytes, identifier: str, instance: str, frame: int, release: str | None, supersedes: str | None, at: int
) -> Annotation:
    """The annotation of `pack_annotation`'s bytes and its event's columns."""
    plain = unpack(data)
    return Annotation(
        id=identifier,
        instance=instance,
        frame=frame,
        reader=plain["reader"],
        at=moment(at),
        release=release,
        proposal=plain["proposal"],
        states=tuple((finding, state) for finding, state in plain["states"]),
        regions=tuple(_unpack_region(region) for region in plain["regions"]),
        actions=plain["actions"],
        seconds=plain["seconds"],
        supersedes=supersedes,
        comment=plain.get("comment", ""),
        restates=plain.get("restates"),
        as_lead=plain.get("as_lead", False),
        weighed=tuple(plain.get("weighed", ())),
    )
