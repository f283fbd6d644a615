"""What a plan promises a site's patients, in figures and in words, before or after it is countersigned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from .accounting import epsilon, plan_epsilon
from .distributed import Collusion, collusions
from .events import plan_evaluation_events, plan_events
from .plan import Mode, Plan


@dataclass(frozen=True, slots=True)
class Guarantee:
    """Under adding or removing one patient with all their images, at `delta`, when no round is repeated.

    stated: the plan's epsilon, which no ledger lets it pass. training, evaluation: what its releases cost a patient
    trained on and one held out (nobody is both). subgroups: whose figures a site judges before its one vote, and what
    evaluation would cost without them (without_subgroups). collusions: in mode "distributed" what more sites could
    learn together with the coordinator; the first is the plan's own.
    """

    mode: Mode
    stated: float
    delta: float
    training: float
    evaluation: float
    subgroups: tuple[str, ...]
    without_subgroups: float
    quorum: int
    sites: int
    collusions: tuple[Collusion, ...]

    def document(self) -> dict[str, object]:
        """The same as one JSON object."""
        return asdict(self)


def guarantee(plan: Plan) -> Guarantee:
    """What `plan` promises. Raises UnaccountableError for one that costs more than it states."""
    plan_epsilon(plan)
    delta = plan.privacy.delta
    private = plan.privacy.mode != "none"
    gate = None if plan.evaluation is None else plan.evaluation.gate
    return Guarantee(
        plan.privacy.mode,
        plan.privacy.epsilon,
        delta,
        epsilon(plan_events(plan), delta) if private else 0.0,
        epsilon(plan_evaluation_events(plan), delta) if private else 0.0,
        () if gate is None or gate.subgroups is None else tuple(group.name for group in gate.subgroups.groups),
        epsilon(plan_evaluation_events(_without_subgroups(plan)), delta) if private else 0.0,
        plan.quorum,
        len(plan.sites),
        collusions(plan),
    )


def _without_subgroups(plan: Plan) -> Plan:
    """The same plan, noise included, with its gate for everybody alone."""
    terms = plan.evaluation
    if terms is None or terms.gate is None:
        return plan
    return replace(plan, evaluation=replace(terms, gate=replace(terms.gate, subgroups=None)))


def lines(promised: Guarantee) -> list[str]:
    """The same in sentences, one a line."""
    if promised.mode == "none":
        return ["Mode none: nothing is private, and no real node takes part."]
    said = [
        f"The unit is the patient. Mode {promised.mode}: of epsilon {promised.stated:g} at delta {promised.delta:g} "
        f"training costs a patient {promised.training:.4g} and evaluation one held out {promised.evaluation:.4g}; "
        "nobody is both.",
        "A round that is repeated is charged again, and each site's ledger ends the plan at its epsilon.",
    ]
    if promised.subgroups:
        said.append(
            f"Each site also judges {', '.join(promised.subgroups)} before its one vote; at the same noise evaluation "
            f"would cost {promised.without_subgroups:.4g} without these gates."
        )
    return said + (against(promised.collusions) or ["It holds against everyone."])


def against(collusions: Sequence[Collusion]) -> list[str]:
    """One line for each number of colluding sites."""
    return [
        f"Against the coordinator {_with(one.colluding)}: epsilon {one.epsilon:.4g}"
        + (", and so many can have the site's own vector opened." if one.alone else ".")
        for one in collusions
    ]


def _with(colluding: int) -> str:
    if not colluding:
        return "alone"
    return f"together with {colluding} other site{'s' if colluding > 1 else ''} that tell it their noise"
