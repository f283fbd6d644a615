"""Which way a layer goes: timed once for each layer and shape in a process, on the first real micro-batch.

Ways differ only in the last bits of what they compute. So that the same seed gives the same training twice in one
process the choices are kept for the whole process, and small layers, where there is nothing to win, are not timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .rules import Captured, Rule

# Below this many multiplications in a micro-batch a layer takes well under a millisecond whichever way it goes.
_WORTH_TIMING = 1 << 22
# Gradients that are formed only for their norms are formed this many values at a time.
_AT_ONCE = 1 << 22
_RUNS = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """The fastest way that keeps the patients' gradients, the fastest to their norms alone and to their weighted sum
    after that, and which is faster."""

    keep: str
    norms: str
    sum: str
    keeping_is_faster: bool


_choices: dict[Hashable, Choice] = {}


def choose(rule: Rule, prepared: Captured) -> Choice:
    """The choice for this layer's geometry and the shape of its input; timed if it is not known yet."""
    norms = rule.norms(prepared)
    if "norms" in norms or rule.work(prepared) < _WORTH_TIMING:
        keep = next(iter(rule.explicit(prepared)))
        return Choice(keep, next(iter(norms), keep), next(iter(rule.sums(prepared))), "norms" not in norms)
    spans = prepared.spans
    known = (
        rule.key,
        tuple(prepared.input.shape[1:]),
        tuple(prepared.gradient.shape[1:]),
        prepared.gradient.dtype,
        prepared.gradient.device,
        len(spans).bit_length(),
        spans.longest.bit_length(),
        torch.get_num_threads(),
    )
    if known not in _choices:
        _choices[known] = _timed(rule, prepared)
    return _choices[known]


def norms_by(rule: Rule, name: str, prepared: Captured) -> Tensor:
    """Squared norms (n,) float64 by the way of that name; an explicit one forms a few gradients at a time."""
    direct = rule.norms(prepared).get(name)
    if direct is not None:
        return direct(prepared)
    way = rule.explicit(prepared)[name]
    parts = prepared.spans.parts(max(1, _AT_ONCE // rule.size))
    return torch.cat([rule.squares(way(prepared.part(rows, spans))) for rows, spans in parts])


def _timed(rule: Rule, prepared: Captured) -> Choice:
    scale = prepared.gradient.new_ones(len(prepared.spans))

    def kept(name: str) -> Callable[[], object]:
        def run() -> object:
            gradients = rule.explicit(prepared)[name](prepared)
            return rule.squares(gradients), scale @ gradients

        return run

    # Where all gradients together would be too large to be worth keeping, the explicit ways are timed piecewise.
    fits = prepared.spans.rows * rule.size <= 8 * _AT_ONCE
    keeping = {
        name: _seconds(kept(name) if fits else lambda name=name: norms_by(rule, name, prepared))
        for name in rule.explicit(prepared)
    }
    keep = min(keeping, key=keeping.__getitem__)
    norming = {name: _seconds(lambda name=name: norms_by(rule, name, prepared)) for name in rule.norms(prepared)}
    norming[keep] = keeping[keep]
    norms = min(norming, key=norming.__getitem__)
    summing = {name: _seconds(partial(way, prepared)) for name, way in rule.sums(prepared).items()}
    sum = min(summing, key=summing.__getitem__)
    return Choice(keep, norms, sum, fits and keeping[keep] <= norming[norms] + summing[sum])


def _seconds(run: Callable[[], object]) -> float:
    """The shortest of a few runs: others on the machine can only make a run longer."""
    times: list[float] = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if times[-1] > 1.0:
            break
    return min(times)
