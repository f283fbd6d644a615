"""What the node keeps of its patients: encrypted at rest, append-only where it counts, erasable patient by patient."""

from __future__ import annotations

from .rows import (
    ChainHead,
    Erasure,
    Figures,
    FrozenRecord,
    InstanceRow,
    NewInstance,
    PatientRow,
    QuarantineRow,
    Stored,
)
from .store import Store

__all__ = [
    "ChainHead",
    "Erasure",
    "Figures",
    "FrozenRecord",
    "InstanceRow",
    "NewInstance",
    "PatientRow",
    "QuarantineRow",
    "Store",
    "Stored",
]
