"""Where two documents of figures differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..report.fields import Json

# What the clock, the place and the command decide, not the seed.
NOT_FIGURES = frozenset({"timing", "seconds", "command", "versions"})


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure that differs: its dotted path, what was kept, and what came now."""

    where: str
    kept: str
    now: str


def differences(kept: Json, now: Json, tolerance: float = 0.0, where: str = "") -> Iterator[Difference]:
    """Every place where two documents differ. Numbers agree within `tolerance` of the larger one's size."""
    if isinstance(kept, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*kept, *now]):
            # A report's digest of its figures says nothing that they do not say themselves.
            if key in NOT_FIGURES or (key == "figures" and isinstance(kept.get(key), str)):
                continue
            path = f"{where}.{key}" if where else key
            if key not in kept or key not in now:
                yield Difference(path, _said(kept.get(key, "nothing")), _said(now.get(key, "nothing")))
            else:
                yield from differences(kept[key], now[key], tolerance, path)
    elif isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        for place, (one, other) in enumerate(zip(kept, now, strict=True)):
            yield from differences(one, other, tolerance, f"{where}[{place}]")
    elif not _equal(kept, now, tolerance):
        yield Difference(where, _said(kept), _said(now))


def _equal(kept: Json, now: Json, tolerance: float) -> bool:
    if isinstance(kept, bool) or isinstance(now, bool):
        return kept is now
    if isinstance(kept, int | float) and isinstance(now, int | float):
        return kept == now or math.isclose(kept, now, rel_tol=tolerance, abs_tol=0.0)
    return kept == now


def _said(value: Json) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
