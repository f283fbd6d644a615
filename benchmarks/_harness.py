"""What every benchmark shares: options, machine facts, alternating runs, medians, and one way of printing them.

A benchmark calls `main` with a function that measures and returns `Cell`s. Ours and the alternative are measured in
turn, so that what else the machine does falls on both; a ratio below 1 is always better for us.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Cell:
    """One comparison. ratio: ours / alternative for costs, alternative / ours for rates."""

    case: str
    ours: float
    alternative: float
    alternative_name: str
    unit: str
    ratio: float
    runs: int
    spread: tuple[float, float]


def say(text: str) -> None:
    """Progress and remarks go to standard error, so that standard output holds the result alone."""
    print(text, file=sys.stderr, flush=True)


def compare(
    case: str,
    ours: Callable[[], float],
    alternative: Callable[[], float],
    alternative_name: str,
    unit: str,
    kind: Literal["cost", "rate"],
    runs: int,
) -> Cell:
    """Measure both in turn `runs` times, after one run of each that does not count; medians of each are given.

    Each function returns its own figure in `unit`. The ratio is the median over the pairs of runs, and `spread` their
    smallest and largest, which shows how far to trust it on a machine that was busy.
    """
    ours(), alternative()
    pairs: list[tuple[float, float]] = []
    for turn in range(runs):
        # Who goes first changes from pair to pair, so that a machine that is warming up favours neither.
        if turn % 2:
            theirs = alternative()
            pairs.append((ours(), theirs))
        else:
            mine = ours()
            pairs.append((mine, alternative()))
    ratios = [mine / theirs if kind == "cost" else theirs / mine for mine, theirs in pairs]
    cell = Cell(
        case=case,
        ours=statistics.median(mine for mine, _ in pairs),
        alternative=statistics.median(theirs for _, theirs in pairs),
        alternative_name=alternative_name,
        unit=unit,
        ratio=statistics.median(ratios),
        runs=runs,
        spread=(min(ratios), max(ratios)),
    )
    say(f"{case}: {cell.ours:.4g} against {cell.alternative:.4g} {unit}, ratio {cell.ratio:.3f}")
    return cell


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, str | int | float]:
    """What ran it, and how busy it was: load is the number of processes wanting a core over the last minute."""
    facts: dict[str, str | int | float] = {
        "processor": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0,
    }
    if "torch" in sys.modules:
        import torch

        facts |= {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}
    return facts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main(
    name: str,
    about: str,
    measure: Callable[[bool], Sequence[Cell]] | Mapping[str, Callable[[bool], Sequence[Cell]]],
    notes: Sequence[str] = (),
) -> None:
    """Parse --quick and --json, measure, print. `notes` say what the figures include, and are printed with them.

    Where `measure` is a mapping of parts, all are measured in order, or with --part NAME only those named.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="fewer images and runs; for checking that it works")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if isinstance(measure, Mapping):
        parser.add_argument("--part", action="append", choices=list(measure), help="only this; may be repeated")
    options = parser.parse_args()
    if isinstance(measure, Mapping):
        cells = [cell for part in options.part or measure for cell in measure[part](options.quick)]
    else:
        cells = measure(options.quick)
    facts = machine()
    if options.json:
        print(json.dumps({"name": name, "machine": facts, "cells": [asdict(cell) for cell in cells], "notes": notes}))
        return
    print(f"{name}: {', '.join(f'{key} {value}' for key, value in facts.items())}")
    for cell in cells:
        print(
            f"  {cell.case}\n    ours {cell.ours:.4g}, {cell.alternative_name} {cell.alternative:.4g} {cell.unit}; "
            f"ratio {cell.ratio:.3f} (pairs {cell.spread[0]:.3f} to {cell.spread[1]:.3f}, {cell.runs} runs)"
        )
    for note in notes:
        print(f"  {note}")
