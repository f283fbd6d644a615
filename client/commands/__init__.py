"""`medquorum node …`, one file for each kind of work; every command is registered here."""

from __future__ import annotations

from ..network.commands import node
from . import (
    accepting,
    auditing,
    export,
    intake,
    keeping,
    labels,
    proposals,
    quality,
    readers,
    realtime,
    review,
    running,
    training,
)

__all__ = [
    "accepting",
    "auditing",
    "export",
    "intake",
    "keeping",
    "labels",
    "node",
    "proposals",
    "quality",
    "readers",
    "realtime",
    "review",
    "running",
    "training",
]
