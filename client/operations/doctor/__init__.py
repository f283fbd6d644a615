"""What stands between a node and its work: each check passes, fails with one thing to do, or was not reached."""

from __future__ import annotations

from .check import Check
from .examination import examine, lines

__all__ = ["Check", "examine", "lines"]
