"""Examining without a worker: for images that the same process has just made, where a sandbox protects nobody."""

from __future__ import annotations

from dataclasses import dataclass

from ..pixels import DEFAULT_LIMITS, Limits
from .examine import Examined, examine


@dataclass(frozen=True, slots=True)
class InProcess:
    """As `Gate.examine`, in this process. Simulations use it for their generated hospitals, and nothing else does."""

    limits: Limits = DEFAULT_LIMITS

    def examine(self, content: bytes) -> Examined:
        """Judge one file. Raises UnreadableError."""
        return examine(content, self.limits)
