"""What the coordinator reads out of an opened evaluation: figures with intervals, temperatures, and the gate's verdict.

All of it is post-processing of a noised sum over sites. The random draws of the intervals follow from the plan's hash
and the round, so that a run that goes on after a stop tells the same figures.
"""

from __future__ import annotations

from ..models import histograms
from ..privacy import evaluation
from ..privacy.aggregation import Opened
from ..privacy.plan import Plan
from .outcome import Evaluation


def read_evaluation(plan: Plan, opened: Opened, round: int, temperatures: tuple[float, ...]) -> Evaluation:
    """The figures behind an opened sum of evaluations of the model after `round`.

    temperatures: of the starting release, one for each finding; each stays where the sum proves no better one.
    """
    counts, against, judged = evaluation.opened(plan, opened.total)
    noise = evaluation.deviation(plan, len(opened.survivors))
    seed = int.from_bytes(plan.hash[:4]) + round
    return Evaluation(
        sites=opened.survivors,
        auroc=tuple(histograms.auroc(one, noise, seed) for one in counts),
        calibration_error=tuple(histograms.calibration_error(one, noise, seed) for one in counts),
        reliability=tuple(histograms.reliability(one, noise, seed) for one in counts),
        temperatures=tuple(
            histograms.temperature(one, noise, current) for one, current in zip(counts, temperatures, strict=True)
        ),
        against=against,
        judged=judged,
    )


def gated(plan: Plan, last: Evaluation | None) -> str:
    """Why the last round's model is not released; "" when it is. A gate that nobody could judge stays shut."""
    gate = None if plan.evaluation is None else plan.evaluation.gate
    if gate is None:
        return ""
    if last is None or last.judged == 0:
        return "gated: the plan has a gate and no site could judge the last model"
    if last.against > gate.tolerated:
        fell = f"whose AUROC fell by more than {gate.max_fall:g} there"
        if gate.subgroups is not None:
            fell += ", or a subgroup's further than the plan allows"
        return (
            f"gated: {last.against} of {last.judged} sites voted against the release, {fell}, and the plan tolerates "
            f"{gate.tolerated}"
        )
    return ""
