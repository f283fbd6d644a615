"""Examining without a worker: for images that the same process has just made, where a sandbox protects nobody."""

from __future__ import annotations

from dataclasses import dataclass

from ..deidentify import Deidentification
from ..pixels import DEFAULT_LIMITS, Limits
from .examine import Examined, examine


@dataclass(frozen=True, slots=True)
class InProcess:
    """As `Gate.examine`, in this process. Simulations use it for their generated hospitals, and nothing else does."""

    limits: Limits = DEFAULT_LIMITS

    def examine(self, content: bytes, how: Deidentification | None = None) -> Examined:
        """Judge one file, and de-identify it where `how` is given. Raises UnreadableError."""
        return examine(content, self.limits, how=how)
