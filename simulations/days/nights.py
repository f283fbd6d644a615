"""The nights: a plan of its own for each, carried out by real nodes whose ledgers last from night to night."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ...client.benches import Benches
from ...client.finetune import Workbench
from ...client.node import Node
from ...client.policy import Policy
from ...client.rights import SimulationRights
from ...client.store import FrozenRecord, Store
from ...client.training_set import TrainingSet
from ...models.checkpoint import Release
from ...privacy.errors import BudgetError, PlanError, UnaccountableError
from ...privacy.events import plan_events, round_events
from ...privacy.ledger import Ledger
from ...privacy.plan import Plan, PlanSite
from ..compare.folds import Fold
from ..compare.nodes import study_of
from ..engine import federate
from ..engine.federate import SETTINGS
from ..partition import nominal
from ..training import privacy_terms
from .desk import Desk
from .terms import DaysTerms


class _Tonight(Benches):
    """The workbench on the rows of one night."""

    def __init__(self) -> None:
        self._rows: TrainingSet | None = None
        self._release: Release | None = None
        self._bench: tuple[bytes, Workbench] | None = None

    def prepare(self, release: Release, rows: TrainingSet) -> None:
        self._release, self._rows, self._bench = release, rows, None

    def training(self, plan: Plan) -> Workbench:
        assert self._release is not None
        assert self._rows is not None
        if self._bench is None or self._bench[0] != plan.hash:
            self._bench = (plan.hash, Workbench(plan, self._release, self._rows))
        return self._bench[1]

    def training_records(self, plan: Plan) -> list[FrozenRecord]:
        return [] if self._rows is None else list(self._rows.records)


def training_share(fold: Fold, terms: DaysTerms, declared: int) -> float:
    """The share of a hospital's declared training patients who are read on one day, by public numbers alone: hidden
    patients take their part of the work."""
    to_train = 1.0 - fold.study.sites.held_out
    return min(1.0, terms.studies_a_day * to_train / (to_train + terms.hidden_share) / declared)


class Nights:
    """The hospitals' nodes, open for all nights of one loop. Use it as a context manager; `folder` must not exist."""

    def __init__(self, fold: Fold, desks: Sequence[Desk], terms: DaysTerms, folder: Path) -> None:
        self._fold, self._desks, self._terms, self._folder = fold, desks, terms, folder
        self._study = study_of(fold.study, terms.mode, None if terms.mode == "none" else terms.epsilon)
        self._stack = ExitStack()
        self._nodes: dict[str, Node] = {}
        self._benches: dict[str, _Tonight] = {}
        cap = terms.epsilon_cap
        for number, desk in enumerate(desks):
            name, place = desk.ward.name, folder / f"site{number + 1}"
            place.mkdir(parents=True)
            policy = Policy(plan_epsilon=cap, modes=(terms.mode,), minimum_quorum=1)
            ledger = Ledger.create(place / "ledger.sqlite", name, cap, self._study.plan.delta)
            store = Store.create(place / "store", name)  # empty: the rows are ready
            self._benches[name] = _Tonight()
            rights = SimulationRights(seed=fold.study.seed)
            node = Node(place, store, ledger, policy, rights, None, None, self._benches[name])
            self._nodes[name] = node
            self._stack.callback(node.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def train(self, day: int, release: Release) -> Release | str:
        """The release after the night that follows `day`, or why there is none.

        Each plan states the patients who are expected to have entered by then, from public numbers; steps are shorter
        while they are few, so that noise moves the model no further than it does when all are there.
        """
        try:
            plan = self._plan(day, release)
            for node in self._nodes.values():
                self._require_room(node, plan)
        except (PlanError, UnaccountableError, BudgetError) as refusal:
            return refusal.what
        entered = sum(bool(desk.entered.any()) for desk in self._desks)
        if entered < plan.quorum:
            return f"patients entered training at {entered} hospitals, and the quorum is {plan.quorum}"
        for desk in self._desks:
            self._benches[desk.ward.name].prepare(release, desk.training_rows())
        settings = replace(SETTINGS, synthetic=self._fold.study.synthetic)
        return federate(self._nodes, plan, release, self._folder / f"night{day}", settings=settings).release

    def spent(self) -> tuple[float, float]:
        """The most that any ledger committed: epsilon of its started plans, and the share of its Renyi filter."""
        if self._terms.mode == "none":
            return 0.0, 0.0
        books = [node.ledger.book() for node in self._nodes.values()]
        shares = [book.cost.divergence / (book.cost.divergence + book.renyi_left) for book in books]
        return max(book.cost.epsilon for book in books), max(shares)

    def _plan(self, day: int, release: Release) -> Plan:
        study, terms = self._study, self._terms
        counts: list[int] = []
        for desk in self._desks:
            declared = desk.ward.nominal
            expected = declared * min(1.0, day * training_share(self._fold, terms, declared))
            counts.append(min(declared, nominal(int(np.ceil(expected)), study.sites.nominal_rounding)))
        shorter = sum(counts) / sum(desk.ward.nominal for desk in self._desks)
        tonight = replace(
            study.plan, rounds=terms.rounds, learning_rate=study.plan.learning_rate * shorter, quorum=study.plan.quorum
        )
        return tonight.plan(
            consortium=f"days of {study.name}",
            name=f"night {day}",
            task=study.task,
            release=release,
            sites=[PlanSite(desk.ward.name, count) for desk, count in zip(self._desks, counts, strict=True)],
            privacy=privacy_terms(replace(study, plan=tonight), counts),
            seed=self._fold.study.seed,
        )

    def _require_room(self, node: Node, plan: Plan) -> None:
        if plan.privacy.mode != "none":
            node.ledger.require_room(plan_events(plan), round_events(plan)[0], plan.privacy.epsilon, plan.privacy.delta)
