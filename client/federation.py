"""How a node answers the coordinator: introduce itself, countersign or refuse a plan, take part in sums.

The node trusts no message further than the plan that it countersigned. Every attempt is noted on disk before it is
answered, every charge is on disk before anything is trained, and a vector is made at most once for each attempt.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import MedquorumError
from ..models.centring import require_centre
from ..models.checkpoint import Release
from ..models.errors import CheckpointError, UntrainableError, WeightsError
from ..models.trainable import require_private
from ..privacy import evaluation, wire
from ..privacy.accounting import plan_epsilon
from ..privacy.aggregation import PlainSite, SiteAggregation
from ..privacy.charges import SLACK
from ..privacy.errors import AggregationError, BudgetError, PrivacyError, VersionError, WireError
from ..privacy.events import GaussianSteps, evaluation_events, plan_evaluation_events, plan_events, round_events
from ..privacy.ledger import Ledger
from ..privacy.messages import Countersignature, Greeting, Introduction, Invitation, Step, StepAnswer
from ..privacy.plan import Plan
from ..privacy.randomness import Randomness, SecureRandomness, SeededRandomness
from ..privacy.secure_aggregation import Witness
from ..privacy.versions import require_compatible
from .aggregation import Part, SiteSide, plain
from .agreements import AgreementError, Agreements, UnknownPlanError
from .applicability import why_not_applicable
from .audit_log import Trail, Untraced
from .benches import Benches
from .disk import DiskFullError, is_full
from .entering import UnreadError
from .evaluate import evaluated, group_histograms
from .policy import Policy, PolicyError
from .releases import Releases
from .rights import SimulationRights
from .store import Store
from .trust import Trust

_LOG = logging.getLogger(__name__)

Vector = NDArray[np.float64]
# By whom the audit log says that it was asked.
_OUTSIDE = "coordinator"


@dataclass(slots=True)
class _Attempt:
    """The attempt at hand: what the site's side of its aggregation needs to remember between steps."""

    part: Part
    parameters: bytes
    side: SiteAggregation
    contributed: bool = False

    def is_of(self, step: Step) -> bool:
        bound = (self.part.plan.hash, self.part.purpose, self.part.round, self.part.attempt)
        return bound == (step.plan_hash, step.purpose, step.round, step.attempt)


class Federation:
    """Answers the coordinator's messages for one site with the node's rooms."""

    def __init__(
        self,
        site: str,
        store: Store,
        ledger: Ledger,
        policy: Policy,
        agreements: Agreements,
        witness: Witness,
        releases: Releases,
        simulation: SimulationRights | None,
        side: SiteSide | None,
        trust: Trust | None,
        benches: Benches | None = None,
        trail: Trail | None = None,
    ) -> None:
        self._site = site
        self._trail = trail or Untraced()
        self._store = store
        self._ledger = ledger
        self._policy = policy
        self._agreements = agreements
        self._witness = witness
        self._releases = releases
        self._simulation = simulation
        self._side = side
        self._trust = trust
        self._other_version: VersionError | None = None
        self._benches = benches or Benches(store, releases)
        self._attempt: _Attempt | None = None

    def answer(self, kind: str, body: bytes) -> bytes:
        """Canonical bytes for canonical bytes; see Node.answer."""
        if kind == "query":
            if wire.kind_of(body) == Greeting.__name__:
                return wire.encode(self._introduce(wire.decode(Greeting, body)))
            return wire.encode(self._countersign(wire.decode(Invitation, body)))
        step = wire.decode(Step, body)
        if kind != ("train" if step.purpose == "update" else "evaluate"):
            raise WireError(f"a step for {step.purpose!r} in a {kind!r} message")
        payload, refusal = b"", ""
        try:
            payload = self._step(step)
        except Exception as fault:  # whatever happened, the coordinator is told no more than `_spoken` allows
            refusal = _spoken(fault)
            self._note_refusal(step.plan_hash, step.purpose, fault)
        return wire.encode(
            StepAnswer(step.plan_hash, step.purpose, step.round, step.attempt, self._site, payload, refusal)
        )

    def _introduce(self, greeting: Greeting) -> Introduction:
        """Say who and which version this is; plans of a coordinator too old or too new are refused from here on."""
        try:
            require_compatible(__version__, greeting.version, "the coordinator")
            self._other_version = None
        except VersionError as fault:
            _LOG.error("%s", fault)
            self._other_version = fault
        return Introduction(self._site, __version__)

    def _countersign(self, invitation: Invitation) -> Countersignature:
        plan_hash = hashlib.sha256(invitation.plan).digest()
        try:
            word = Countersignature(plan_hash, self._site, True, self._agree(invitation), "")
        except Exception as fault:  # as above
            word = Countersignature(plan_hash, self._site, False, 0.0, _spoken(fault))
            self._note_refusal(plan_hash, "plan", fault)
        return word if self._trust is None else self._trust.sign(word)

    def _agree(self, invitation: Invitation) -> float:
        """Check the plan and keep it; return the epsilon cap it is countersigned under."""
        if self._other_version is not None:
            raise self._other_version
        plan = wire.decode(Plan, invitation.plan)
        self._require_trusted(plan, invitation.signature)
        plan.nominal(self._site)
        release = Release.from_bytes(invitation.card, invitation.tensors)
        if release.hash != plan.release:
            raise PolicyError("the release that came with the plan is not the one that the plan names")
        if release.card.task != plan.task:
            raise PolicyError("the release was made for another task than the plan's")
        self._policy.check(plan, release.card)
        self._require_rights(plan)
        self._require_affordable(plan)
        require_centre(release.card.architecture, plan.training.recipe.centring)
        require_private(release.network().train().trainable())
        self._releases.keep(release)
        self._store.freeze(plan.hash, datetime.now(UTC), lambda image: not why_not_applicable(plan.task, image))
        if not self._benches.training_records(plan):
            raise PolicyError("this site has no reviewed patient who may be trained on")
        cap = self._policy.plan_epsilon if plan.privacy.mode != "none" else 0.0
        self._trail.append("agreement", _OUTSIDE, plan=plan.hash.hex(), epsilon_cap=cap)
        self._agreements.countersign(plan, cap)
        return cap

    def _require_trusted(self, plan: Plan, signature: bytes) -> None:
        """The plan is the pinned coordinator's, and not a changed one under a name that was countersigned before.

        Simulation is exempt: hospital and operator are one person there, who may change a study and run it again.
        """
        if self._trust is None:
            if self._simulation is None:
                raise PolicyError("this node has joined no consortium, so it takes no plans")
            return
        self._trust.require_signed(plan, signature)
        if any(known.hash != plan.hash for known in self._agreements.named(plan.consortium, plan.name)):
            raise PolicyError(
                f"this node countersigned another plan under the name {plan.name!r}",
                fix="give a changed plan a new name; it is a new plan with a budget of its own",
            )

    def _require_rights(self, plan: Plan) -> None:
        if plan.privacy.mode == "none" and self._simulation is None:
            raise PolicyError("a plan without privacy runs only in simulation")

    def _require_affordable(self, plan: Plan) -> None:
        """By this site's own accounting the plan costs no more than it states, and the ledger can bear that."""
        plan_epsilon(plan)
        if plan.privacy.mode == "none" or self._ledger.spent_on(plan.hash) > 0.0:
            return
        privacy = plan.privacy
        self._ledger.require_room(
            plan_events(plan), round_events(plan)[0], privacy.epsilon, privacy.delta, plan_evaluation_events(plan)
        )
        year = self._ledger.committed_in_year()
        if plan.privacy.epsilon + year > self._policy.year_epsilon + SLACK:
            raise BudgetError(
                f"the plan may spend epsilon {plan.privacy.epsilon:.4g}; this site committed {year:.4g} within 365 "
                f"days and its cap for a year is {self._policy.year_epsilon:.4g}"
            )

    def _step(self, step: Step) -> bytes:
        plan = self._agreements.find(step.plan_hash)
        if plan is None:
            raise UnknownPlanError("this node did not countersign that plan", fix="invite it first")
        attempt = self._attempt
        if attempt is not None and attempt.is_of(step):
            if step.parameters:
                raise AgreementError("this attempt's first step was answered already", fix="ask under a new attempt")
        else:
            attempt = self._begin(plan, step)
        return attempt.side.answer(step.payload, lambda: self._contribution(attempt))

    def _begin(self, plan: Plan, step: Step) -> _Attempt:
        first = 1 if step.purpose == "update" else 0
        if not first <= step.round <= plan.rounds or step.attempt < 1:
            raise AgreementError(f"round {step.round}, attempt {step.attempt} is outside the plan")
        if not step.parameters:
            raise AgreementError("this node does not know that attempt (any more)", fix="ask under a new attempt")
        # Later steps of an attempt are answered at any hour: it is paid for, and others wait for it.
        self._policy.require_open(datetime.now())
        self._require_rights(plan)
        if step.purpose == "evaluation":
            self._require_asked(plan, step.round)
            bench, length = self._benches.held_out(plan), evaluation.length(plan)
        else:
            bench = self._benches.training(plan)
            length = bench.length
        bench.load(step.parameters)
        part = Part(
            plan=plan,
            site=self._site,
            purpose=step.purpose,
            round=step.round,
            attempt=step.attempt,
            length=length,
            model=hashlib.sha256(step.parameters).digest(),
            witness=self._witness,
        )
        side = self._side_for(part)
        self._agreements.begin(plan.hash, step.purpose, step.round, step.attempt)
        self._attempt = _Attempt(part, step.parameters, side)
        return self._attempt

    def _side_for(self, part: Part) -> SiteAggregation:
        chosen = self._side
        if chosen is None and self._simulation is not None:
            chosen = plain
        side = chosen(part) if chosen is not None else None
        if side is None or (isinstance(side, PlainSite) and self._simulation is None):
            raise AggregationError("this node contributes only to encrypted sums")
        return side

    def _require_asked(self, plan: Plan, round: int) -> None:
        """The plan, by public numbers alone, has this site evaluate the model after `round`."""
        if plan.evaluation is None:
            raise AgreementError("the plan asks for no evaluation")
        if self._site not in plan.asked:
            raise AgreementError(
                f"the plan asks sites that declare {plan.evaluation.minimum_patients} or more held-out patients, and "
                "this one does not"
            )
        if not plan.evaluation.due(round, plan.rounds):
            raise AgreementError(f"the plan asks for no evaluation after round {round}")

    def _contribution(self, attempt: _Attempt) -> Vector:
        """Make the attempt's vector, once; it is charged before the first image is looked at."""
        if attempt.contributed:
            raise AggregationError("this attempt's vector was made already")
        attempt.contributed = True
        part, plan = attempt.part, attempt.part.plan
        evaluating = part.purpose == "evaluation"
        self._charge(part, evaluation_events(plan, part.round) if evaluating else round_events(plan))
        if evaluating:
            return self._evaluation(part, attempt.parameters)
        bench = self._benches.training(plan)
        return bench.update(attempt.parameters, self._site, part.round, self._randomness(part))

    def _charge(self, part: Part, events: Sequence[GaussianSteps]) -> None:
        plan = part.plan
        if events:
            self._ledger.charge(
                plan.hash,
                part.purpose,
                part.round,
                part.attempt,
                events,
                plan.privacy.epsilon,
                plan.privacy.delta,
                self._policy.year_epsilon,
                plan_events(plan),
                plan_evaluation_events(plan),
            )
            self._trail.append(
                "charge",
                _OUTSIDE,
                plan=plan.hash.hex(),
                purpose=part.purpose,
                round=part.round,
                attempt=part.attempt,
                committed=self._ledger.committed(),
            )

    def _note_refusal(self, plan_hash: bytes, about: str, fault: Exception) -> None:
        """Note what was refused. The refusal stands even where it cannot be noted."""
        try:
            self._trail.append("refusal", _OUTSIDE, plan=plan_hash.hex(), about=about, fault=type(fault).__name__)
        except (MedquorumError, OSError) as other:
            _LOG.error("a refusal could not be noted in the audit log: %s", other)

    def _evaluation(self, part: Part, parameters: bytes) -> Vector:
        plan, bench = part.plan, self._benches.held_out(part.plan)
        scores, groups = bench.probabilities(parameters), evaluation.counted(plan, part.round)
        traits = self._benches.held_out_traits(plan) if len(groups) > 1 else ()
        histograms = group_histograms(scores, bench.labels, bench.patients, groups, traits)
        made = evaluated(plan, histograms, part.round, self._agreements.copy(plan.hash), self._randomness(part))
        if part.round == 0 and made.copy is not None:
            self._agreements.keep_copy(plan.hash, made.copy)
        if made.verdicts:
            self._agreements.keep_verdicts(plan.hash, made.verdicts)
            for one in made.verdicts:
                self._trail.append("gate", _OUTSIDE, plan=plan.hash.hex(), group=one.group, said=one.words())
        return made.vector

    def _randomness(self, part: Part) -> Randomness:
        rights = self._simulation
        if rights is not None and (rights.seed is not None or part.plan.privacy.mode == "none"):
            seed = secrets.randbits(63) if rights.seed is None else rights.seed
            # One stream for each attempt: figures repeat however the run was interrupted or spread over processes.
            named = (self._site, part.plan.hash.hex(), part.round, part.attempt)
            return SeededRandomness(seed, *named, *(() if part.purpose == "update" else (part.purpose,)))
        return SecureRandomness()


# Faults whose text speaks of plans, messages, models and budgets, never of images or patients.
_WORDED_FOR_OUTSIDE = (
    PolicyError,
    AgreementError,
    PrivacyError,
    CheckpointError,
    WeightsError,
    UntrainableError,
)


def _spoken(fault: Exception) -> str:
    """What the coordinator is told of a fault: of one that is not worded for it, the kind only."""
    if is_full(fault):
        full = DiskFullError("this node's disk is full", fix="the site's IT must free space")
        _LOG.error("%s", full, exc_info=fault)
        return _worded(full)
    if isinstance(fault, UnreadError):  # its own text counts patients
        _LOG.warning("refused: %s", fault)
        return _worded(PolicyError("this site has not read all that would take part", fix="invite it again later"))
    if isinstance(fault, _WORDED_FOR_OUTSIDE):
        _LOG.warning("refused: %s", fault)
        return _worded(fault)
    _LOG.error("a message could not be answered: %s", fault, exc_info=not isinstance(fault, MedquorumError))
    return f"the node failed ({type(fault).__name__}); its log says more."


def _worded(fault: MedquorumError) -> str:
    remedy = f" Fix: {fault.fix}." if fault.fix else ""
    return f"{fault.what}.{remedy}" + (f" ({fault.number})" if fault.number else "")
