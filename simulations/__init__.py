"""Federations of many hospitals in one process: studies, comparisons, sweeps and what they found, as frames."""

from __future__ import annotations

from .frames import Results, load_results

__all__ = ["Results", "load_results"]
