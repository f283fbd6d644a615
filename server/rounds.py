"""The rounds of a federation: agree, train, open the sum, step the model, measure, keep; and go on after a stop.

What a finished round produced is on disk before the next begins, and a finished round is never repeated: its sites
have paid for it. An unfinished round is attempted again under a new number, for which every site draws a new sample
and new noise and is charged again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..models.card import TrainingRecord
from ..models.checkpoint import Release
from ..models.parameters import from_vector, moving, to_vector
from ..privacy import evaluation
from ..privacy.aggregation import Opened, Purpose
from .aggregation import CoordinatorSide, Gathering
from .averaging import running_mean
from .cohort import Cohort, describe
from .courier import Courier
from .errors import QuorumError, RunError
from .measuring import gated, read_evaluation
from .outcome import Missing, Outcome, RoundLog, SiteBytes
from .progress import AttemptFailed, Evaluated, Resumed, RoundFinished, RoundStarted, RunFinished, Watcher
from .run_folder import Checkpoint, RunFolder
from .strategy import Strategy, mean_update, strategy_for
from .summing import Sum, model_hash, open_sum
from .trust import CoordinatorTrust

Parameters = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Update:
    """An opened update and how it came about."""

    opened: Opened
    attempts: int
    missing: tuple[Missing, ...]


class Rounds:
    """Carries out one run held in a folder."""

    def __init__(
        self,
        courier: Courier,
        folder: RunFolder,
        side: CoordinatorSide,
        watch: Watcher,
        trust: CoordinatorTrust | None = None,
    ) -> None:
        self._courier = courier
        self._folder = folder
        self._plan = folder.plan
        self._settings = folder.settings
        self._side = side
        self._watch = watch
        self._release = folder.starting_release()
        self._cohort = Cohort(courier, folder.plan, self._release, folder.settings, watch, trust)
        self._centre = moving(self._release.network().trainable(), centring=True).numpy()
        self._strategy: Strategy = strategy_for(folder.plan.training)
        self._started = time.monotonic()
        self._refused_once: set[str] = set()
        self._refused_twice: set[str] = set()

    def run(self) -> Outcome:
        """Carry the run to its end and return what came of it.

        Raises QuorumError when too few sites agree or answer (`curable` when enough of them have not said no);
        whatever was finished is kept and the same call goes on from there. Raises RunError when the folder does not
        fit.
        """
        try:
            return self._run()
        except QuorumError as fault:
            fault.curable = self._within_reach()
            raise

    def _run(self) -> Outcome:
        found = self._folder.checkpoint()
        state = found or self._first_checkpoint()
        self._strategy.restore(state.strategy_state())
        earlier = state
        if found is not None:
            self._watch(Resumed(len(found.rounds)))
        if not self._is_finished(state):
            self._cohort.gather()
            state = self._keep(self._measured(state), earlier)
            while len(state.rounds) < self._plan.rounds:
                state = self._round(state, earlier)
        final, verdict = self._final_release(state), gated(self._plan, state.rounds[-1].evaluation)
        self._folder.save_final(final, verdict)
        self._watch(RunFinished(final.hash.hex(), verdict))
        return Outcome(final, state.before, state.rounds, self._cohort.missing, state.traffic, state.seconds, verdict)

    def _first_checkpoint(self) -> Checkpoint:
        parameters = to_vector(self._release.network().trainable()).detach().cpu().numpy().astype("<f4")
        return Checkpoint(self._plan.hash, parameters.tobytes(), (), None, (), (), 0.0)

    def _is_finished(self, state: Checkpoint) -> bool:
        """Nothing is left to ask of any site: the last round is done, and was measured or could not be."""
        return len(state.rounds) == self._plan.rounds and self._folder.has_final()

    def _round(self, state: Checkpoint, earlier: Checkpoint) -> Checkpoint:
        begun, traffic = time.monotonic(), self._courier.traffic
        number = len(state.rounds) + 1
        update = self._update(number, state.parameters)
        # A round moves the centre or the rest, and of the other the opened sum holds noise at most.
        centring = self._plan.finds_centre(number)
        part = self._centre if centring else ~self._centre
        strategy = strategy_for(self._plan.training_in(number)) if centring else self._strategy
        mean = mean_update(self._plan, update.opened, number).where(part)
        before = np.frombuffer(state.parameters, dtype="<f4").astype(np.float64)
        # Rounded to float32 at once: the model that is kept is bit for bit the one that every site is sent.
        after = before.astype("<f4")
        after[part] = strategy.step(before[part], mean).astype("<f4")
        if not np.isfinite(after).all():
            raise RunError(
                "the model left the range of 32-bit floats",
                where=f"round {number}",
                fix="plan a smaller learning rate or server_learning_rate",
            )
        log = RoundLog(
            round=number,
            attempts=update.attempts,
            survivors=update.opened.survivors,
            missing=update.missing,
            update_norm=float(np.linalg.norm(mean.values)),
            evaluation=None,
            traffic=_difference(self._courier.traffic, traffic),
            seconds=time.monotonic() - begun,
        )
        # Kept before it is measured: were the coordinator stopped in between, the sites would not train again.
        state = replace(state, parameters=after.tobytes(), rounds=(*state.rounds, log))
        state = replace(state, average=self._averaged(state, after.astype(np.float64)))
        state = self._keep(state.with_strategy(self._strategy.state()), earlier)
        measured = self._measured(state)
        log = replace(
            measured.rounds[-1],
            traffic=_difference(self._courier.traffic, traffic),
            seconds=time.monotonic() - begun,
        )
        state = self._keep(replace(measured, rounds=(*measured.rounds[:-1], log)), earlier)
        self._watch(RoundFinished(log))
        return state

    def _averaged(self, state: Checkpoint, model: NDArray[np.float64]) -> bytes:
        recipe, number = self._plan.training.recipe, len(state.rounds)
        if recipe.averaging == 0.0 or self._plan.finds_centre(number):
            return b""
        mean = np.frombuffer(state.average, dtype="<f8") if state.average else None
        return running_mean(mean, model, recipe.averaging, number - recipe.centring).astype("<f8").tobytes()

    def _update(self, number: int, parameters: bytes) -> _Update:
        """Attempt the round until its sum opens, or the settings' patience is at an end."""
        for left in reversed(range(self._settings.attempts)):
            attempt = self._folder.begin("update", number)
            cohort = self._cohort.present
            self._watch(RoundStarted(number, self._plan.rounds, attempt, cohort))
            result = self._open("update", number, attempt, cohort, parameters, len(parameters) // 4)
            missing = _merge(self._cohort.missing, result.missing)
            if result.opened is not None:
                return _Update(result.opened, attempt, missing)
            self._watch(AttemptFailed("update", number, attempt, result.fault))
            # Sites that refuse twice will refuse again, while every further attempt costs the willing ones a charge.
            # One refusal may come of a node that was started again amid an attempt, which it then does not know.
            refusing = {one.site for one in result.missing if one.refused}
            self._refused_twice = refusing & self._refused_once
            self._refused_once = refusing
            if left == 0 or not self._within_reach():
                raise QuorumError(
                    f"no sum was opened in {attempt} attempt(s): {result.fault}; missing: {describe(missing)}",
                    where=f"round {number} of {self._plan.rounds}",
                    fix="bring the missing sites back and start the run again; its finished rounds are kept",
                )
            time.sleep(self._settings.wait_seconds)
            self._cohort.gather()
        raise QuorumError("the settings allow no attempt", where="settings", fix="allow at least one attempt")

    def _within_reach(self) -> bool:
        """Whether enough sites for a quorum have not refused for good."""
        refused = {one.site for one in self._cohort.missing if one.refused} | self._refused_twice
        return len(self._plan.sites) - len(refused) >= self._plan.quorum

    def _measured(self, state: Checkpoint) -> Checkpoint:
        """The checkpoint with its model's evaluation, if the plan asks for it now and it can be had."""
        plan, number = self._plan, len(state.rounds)
        known = state.rounds[-1].evaluation if state.rounds else state.before
        if plan.evaluation is None or known is not None or not plan.evaluation.due(number, plan.rounds):
            return state
        opened = None
        # A lost sum costs its sites a charge; only where a gate rests on it is it worth another.
        for _ in range(1 + evaluation.SPARE * evaluation.judged(plan, number)):
            opened = self._evaluated(state, number)
            if opened is not None:
                break
        if opened is None:
            return state
        found = read_evaluation(plan, opened, number, self._release.card.temperatures)
        self._watch(Evaluated(number, found))
        if not state.rounds:
            return replace(state, before=found)
        return replace(state, rounds=(*state.rounds[:-1], replace(state.rounds[-1], evaluation=found)))

    def _evaluated(self, state: Checkpoint, number: int) -> Opened | None:
        """One attempt to open a sum of evaluations over the sites that the plan asks and that are there."""
        cohort = tuple(site for site in self._cohort.present if site in self._plan.asked)
        attempt = self._folder.begin("evaluation", number)
        length = evaluation.length(self._plan)
        result = self._open("evaluation", number, attempt, cohort, state.released, length)
        if result.opened is None:
            reason = f"{result.fault}; missing: {describe(result.missing)}"
            self._watch(AttemptFailed("evaluation", number, attempt, reason))
        return result.opened

    def _open(
        self, purpose: Purpose, number: int, attempt: int, cohort: tuple[str, ...], parameters: bytes, length: int
    ) -> Sum:
        gathering = Gathering(
            plan=self._plan,
            purpose=purpose,
            round=number,
            attempt=attempt,
            cohort=cohort,
            length=length,
            model=model_hash(parameters),
        )
        return open_sum(self._courier, self._side, gathering, parameters, self._settings.step_seconds, self._watch)

    def _keep(self, state: Checkpoint, earlier: Checkpoint) -> Checkpoint:
        """Save the checkpoint with the traffic and time of this process added to what earlier ones spent."""
        kept = replace(
            state,
            traffic=_total(earlier.traffic, self._courier.traffic),
            seconds=earlier.seconds + time.monotonic() - self._started,
        )
        self._folder.save(kept)
        return kept

    def _final_release(self, state: Checkpoint) -> Release:
        import torch

        network = self._release.network()
        vector = torch.from_numpy(np.frombuffer(state.released, dtype="<f4").astype(np.float32))
        from_vector(network.trainable(), vector)
        private = self._plan.privacy.mode != "none"
        contributors = {site for log in state.rounds for site in log.survivors}
        sites = tuple(site for site in self._plan.sites if site.name in contributors)
        record = TrainingRecord(
            plan=self._plan.name,
            plan_hash=self._plan.hash.hex(),
            rounds=len(state.rounds),
            sites=tuple(site.name for site in sites),
            nominal_patients=tuple(site.patients for site in sites),
            mode=self._plan.privacy.mode,
            epsilon=self._plan.privacy.epsilon if private else None,
            delta=self._plan.privacy.delta if private else None,
            aggregation=self._settings.aggregation,
            synthetic=self._settings.synthetic,
            relation=self._plan.privacy.relation if private else "",
            colluding=self._plan.privacy.colluding,
        )
        card = replace(self._release.card, training=(*self._release.card.training, record))
        measured = state.rounds[-1].evaluation
        if measured is not None:
            card = replace(card, temperatures=measured.temperatures)
        return Release.of(network, card)


def _merge(absent: tuple[Missing, ...], dropped: tuple[Missing, ...]) -> tuple[Missing, ...]:
    merged = {one.site: one for one in (*absent, *dropped)}
    return tuple(merged.values())


def _total(first: tuple[SiteBytes, ...], second: tuple[SiteBytes, ...]) -> tuple[SiteBytes, ...]:
    return _combine(first, second, 1)


def _difference(later: tuple[SiteBytes, ...], sooner: tuple[SiteBytes, ...]) -> tuple[SiteBytes, ...]:
    return _combine(later, sooner, -1)


def _combine(first: tuple[SiteBytes, ...], second: tuple[SiteBytes, ...], sign: int) -> tuple[SiteBytes, ...]:
    one: Mapping[str, SiteBytes] = {entry.site: entry for entry in first}
    other: Mapping[str, SiteBytes] = {entry.site: entry for entry in second}
    nothing = SiteBytes("", 0, 0)
    return tuple(
        SiteBytes(
            site,
            one.get(site, nothing).down + sign * other.get(site, nothing).down,
            one.get(site, nothing).up + sign * other.get(site, nothing).up,
        )
        for site in sorted(one.keys() | other.keys())
    )
