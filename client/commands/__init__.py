"""`medquorum node …`, one file for each kind of work; every command is registered here."""

from __future__ import annotations

from ..network.commands import node

__all__ = ["node"]
