"""How figures are written for people: one place, so that console, page and plots agree."""

from __future__ import annotations

import math

from ..results import Estimate

NONE = "–"
# Between a figure and its unit, so that a line never breaks there.
GAP = "\N{NO-BREAK SPACE}"


def auroc(value: float | None) -> str:
    """Two digits after the point, as many as a few hundred patients support."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.2f}"


def interval(estimate: Estimate | None) -> str:
    """The 95 % interval, "0.81–0.92"."""
    return "" if estimate is None else f"{estimate.low:.2f}–{estimate.high:.2f}"


def with_interval(estimate: Estimate | None) -> str:
    """Value and 95 % interval, "0.87 (0.81–0.92)"."""
    return NONE if estimate is None else f"{estimate.value:.2f} ({interval(estimate)})"


def percent(share: float) -> str:
    """A share as whole percent; rounding to 0 loses the sign."""
    return NONE if not math.isfinite(share) else f"{round(100 * share) + 0:d}{GAP}%"


def epsilon(value: float) -> str:
    """An epsilon rounded up at the second digit after the point: never stated smaller than it is."""
    return "∞" if math.isinf(value) else f"{math.ceil(value * 100 - 1e-9) / 100:.2f}"


def cap(value: float) -> str:
    """An epsilon cap as it was declared."""
    return "∞" if math.isinf(value) else f"{value:g}"


def size(count: int) -> str:
    """Bytes in decimal units."""
    if count < 1000:
        return f"{count}{GAP}B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        # 999.5 would be written as 1000.
        if amount < 999.5 or unit == "GB":
            return f"{amount:.{0 if amount >= 99.95 else 1}f}{GAP}{unit}"
    raise AssertionError("the last unit takes every size")


def duration(seconds: float) -> str:
    """A wall-clock time."""
    if not math.isfinite(seconds):
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f}{GAP}s"
    if seconds < 99.5:
        return f"{seconds:.0f}{GAP}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{GAP}min{GAP}{whole % 60}{GAP}s"
    return f"{whole // 3600}{GAP}h{GAP}{whole % 3600 // 60}{GAP}min"


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun, "1 image", "1,200 images"."""
    return f"{number:,}{GAP}{one if number == 1 else many or one + 's'}"
