"""The gate as a node's own settings want it; whoever takes files in for a real hospital opens it here."""

from __future__ import annotations

from dataclasses import replace

from ..gate import GATE_LIMITS, SOP_CLASSES, Gate
from .settings import IntakeSettings


def open_gate(settings: IntakeSettings) -> Gate:
    """A gate with the node's limits and storage classes; close it."""
    limits = replace(GATE_LIMITS, file_bytes=settings.file_megabytes << 20)
    return Gate(limits, (*SOP_CLASSES, *settings.extra_classes))
