"""From cells to the comparison's table: one row for each way of learning, over all seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..outcome import model_of
from ..results import Estimate
from ..resumable.outcomes import Figures, Refusal
from ..study import Study
from . import words
from .cells import CellResult, Kind
from .features import Images
from .rows import Comparison, Row, SiteRow


def tabulate(
    study: Study,
    seeds: Sequence[int],
    results: Sequence[CellResult],
    images: Images,
    manifest: dict[str, object],
    seconds: float,
) -> Comparison:
    """The table of a comparison whose cells are all there."""
    keys: dict[tuple[Kind, str, float | None], list[CellResult]] = {}
    for result in results:
        cell = result.cell
        keys.setdefault((cell.kind, cell.mode, cell.epsilon), []).append(result)
    baseline = {
        one.cell.seed: one.outcome for one in results if one.cell.kind == "pooled" and isinstance(one.outcome, Figures)
    }
    rows = [_row(key, found, seeds, baseline) for key, found in sorted(keys.items(), key=_order)]
    some = next(iter(baseline.values()), None)
    names = list(dict.fromkeys(one.cell.site for one in results if one.cell.site))
    if not names and some is not None:  # no hospital trained alone
        names = [one.name for one in some.own]
    return Comparison(
        study=study.name,
        description=study.description,
        synthetic=study.synthetic,
        findings=study.task.keys,
        model=model_of(study),
        partition=words.partition(study),
        hospitals=tuple(names),
        seeds=tuple(seeds),
        delta=study.plan.delta,
        images=len(images.pictures),
        train_patients=some.train_patients if some else 0,
        test_patients=some.test_patients if some else 0,
        left_out=len(images.left_out),
        rows=tuple(rows),
        notes=words.notes(study, rows, len(seeds), len(images.left_out)),
        manifest=manifest,
        seconds=seconds,
    )


def _order(item: tuple[tuple[Kind, str, float | None], list[CellResult]]) -> tuple[int, bool, str, float]:
    (kind, mode, epsilon), _ = item
    # Without privacy first, then the weaker guarantee before the stronger.
    return ("pooled", "federated", "alone").index(kind), mode != "none", mode, -(epsilon or 0.0)


def _row(
    key: tuple[Kind, str, float | None],
    results: Sequence[CellResult],
    seeds: Sequence[int],
    baseline: dict[int, Figures],
) -> Row:
    kind, mode, epsilon = key
    good = [(one.cell.seed, one.outcome) for one in results if isinstance(one.outcome, Figures)]
    refusals = [one.outcome for one in results if isinstance(one.outcome, Refusal)]
    by_seed = {seed: [figures for at, figures in good if at == seed] for seed in seeds}
    values: list[float] = []
    draws: list[np.ndarray] = []
    gaps: list[float] = []
    gap_draws: list[np.ndarray] = []
    worst: list[float] = []
    for seed, found in by_seed.items():
        measured = [one for one in found if one.auroc is not None]
        if not measured:
            continue
        values.append(float(np.mean([one.auroc.value for one in measured if one.auroc is not None])))
        mine = np.mean([_array(one.draws) for one in measured], axis=0)
        draws.append(mine)
        pooled = baseline.get(seed)
        if pooled is not None and pooled.auroc is not None:
            gaps.append(pooled.auroc.value - values[-1])
            gap_draws.append(_array(pooled.draws) - mine)
        own = [site.auroc.value for one in found for site in one.own if site.auroc is not None]
        if own:
            worst.append(min(own))
    own = [site.auroc.value for _, one in good for site in one.own if site.auroc is not None]
    figures = [one for _, one in good]
    auroc = _spread_of(values, draws)
    charged = [one.epsilon for one in figures if one.epsilon is not None]
    noise = [one.noise_multiplier for one in figures if one.noise_multiplier is not None]
    return Row(
        kind=kind,
        mode=mode,
        epsilon=epsilon,
        cells=len(good),
        refused=len(refusals),
        reasons=tuple(dict.fromkeys(f"{one.reason}; {one.fix}" for one in refusals)),
        auroc=auroc,
        by_finding=_by_finding(figures),
        spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        gap=_spread_of(gaps, gap_draws),
        own=_mean(own),
        worst=_mean(worst),
        worst_ever=min(own, default=None),
        calibration_error=_mean([one.calibration_error for one in figures if one.calibration_error is not None]),
        dice=_averaged([one.dice for one in figures]),
        pointing=_averaged([one.pointing for one in figures]),
        epsilon_charged=max(charged, default=None),
        noise_multiplier=max(noise, default=None),
        steps=max((one.steps for one in figures), default=0),
        seconds=sum(one.seconds for one in figures),
        sites=_sites(figures),
    )


def _array(draws: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if one is None else one for one in draws])


def _spread_of(values: Sequence[float], draws: Sequence[np.ndarray]) -> Estimate | None:
    """The mean of the seeds' values with the 2.5 and 97.5 percentiles of all their draws."""
    if not values:
        return None
    low, high = np.nanpercentile(np.concatenate(draws), [2.5, 97.5])
    return Estimate(float(np.mean(values)), float(low), float(high))


def _averaged(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """The mean of value and of both ends of the interval."""
    known = [one for one in estimates if one is not None]
    if not known:
        return None
    return Estimate(*(float(np.mean([getattr(one, end) for one in known])) for end in ("value", "low", "high")))


def _by_finding(figures: Sequence[Figures]) -> tuple[float | None, ...]:
    columns = zip(*(one.by_finding for one in figures), strict=True)
    return tuple(_mean([one.value for one in column if one is not None]) for column in columns)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _sites(figures: Sequence[Figures]) -> tuple[SiteRow, ...]:
    found: dict[str, list[float]] = {}
    for one in figures:
        for site in one.own:
            found.setdefault(site.name, []).extend([site.auroc.value] if site.auroc is not None else [])
    return tuple(SiteRow(name, _mean(values), min(values, default=None)) for name, values in found.items())
