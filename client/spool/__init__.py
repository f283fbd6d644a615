"""The spool: where a received file waits, encrypted and synced, until the gate has read it and the store holds it."""

from __future__ import annotations

from .spool import Arriving, Spool, Spooled, spool_of

__all__ = ["Arriving", "Spool", "Spooled", "spool_of"]
