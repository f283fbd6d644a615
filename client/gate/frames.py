"""What passes between the gate and its workers: a JSON header and raw bytes, both with their lengths in front.

Neither side trusts the other's lengths: each reads no more than it was prepared for. JSON and not pickle, since a
worker that a hostile file has taken over may answer anything.
"""

from __future__ import annotations

import json
import os
from struct import Struct
from typing import Any

_HEAD = Struct(">IQ")
_LONGEST_HEADER = 4 << 20
_PIECE = 1 << 20


class BrokenPipeline(Exception):  # noqa: N818  internal: never reaches a user
    """The other side closed its end, or sent what is not a frame."""


def send(descriptor: int, header: dict[str, Any], body: bytes | memoryview = b"") -> None:
    """Write one frame; BrokenPipeline when the other side is gone."""
    encoded = json.dumps(header, separators=(",", ":")).encode()
    try:
        _write(descriptor, _HEAD.pack(len(encoded), len(body)) + encoded)
        _write(descriptor, body)
    except OSError as fault:
        raise BrokenPipeline from fault


def receive(descriptor: int, longest_body: int) -> tuple[dict[str, Any], bytearray]:
    """Read one frame; BrokenPipeline at the end of the stream or for anything that is not a frame."""
    try:
        header_length, body_length = _HEAD.unpack(_read(descriptor, _HEAD.size))
        if header_length > _LONGEST_HEADER or body_length > longest_body:
            raise BrokenPipeline
        header: Any = json.loads(bytes(_read(descriptor, header_length)))
        if not isinstance(header, dict):
            raise BrokenPipeline
        return header, _read(descriptor, body_length)
    except (OSError, ValueError, RecursionError) as fault:
        raise BrokenPipeline from fault


def _write(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest[:_PIECE]) :]


def _read(descriptor: int, length: int) -> bytearray:
    data = bytearray(length)
    view, at = memoryview(data), 0
    while at < length:
        got = os.readv(descriptor, [view[at : at + _PIECE]])
        if got == 0:
            raise BrokenPipeline
        at += got
    return data
