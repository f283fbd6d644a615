"""The workbenches of the plan at hand: which records it trains on or is measured by, built once and kept in memory."""

from __future__ import annotations

from collections.abc import Sequence

from ..privacy.plan import Plan
from ..privacy.subgroups import Traits, of_patient
from . import training_set
from .applicability import why_not_applicable
from .finetune import Workbench
from .releases import Releases
from .store import FrozenRecord, Store


class Benches:
    """Builds the training and the held-out workbench of a plan when first needed, and keeps the last plan's."""

    def __init__(self, store: Store, releases: Releases) -> None:
        self._store = store
        self._releases = releases
        self._training: tuple[bytes, Workbench] | None = None
        self._held_out: tuple[bytes, Workbench] | None = None

    def training(self, plan: Plan) -> Workbench:
        """The plan's network with its frozen records."""
        if self._training is None or self._training[0] != plan.hash:
            self._training = None  # let go of the last plan's images before the next one's are loaded
            self._training = (plan.hash, self._build(plan, self.training_records(plan)))
        return self._training[1]

    def held_out(self, plan: Plan) -> Workbench:
        """The plan's network with the frozen records of held-out patients whose images the task is asked of."""
        if self._held_out is None or self._held_out[0] != plan.hash:
            self._held_out = None
            self._held_out = (plan.hash, self._build(plan, self._fitting(plan, self._store.frozen_held_out(plan.hash))))
        return self._held_out[1]

    def held_out_traits(self, plan: Plan) -> tuple[Traits, ...]:
        """The sex and the band of age of each patient of `held_out`, by number: one of each (see subgroups)."""
        bench = self.held_out(plan)
        stated = self._store.traits(record.instance for record in bench.records)
        by_patient: dict[int, list[Traits]] = {}
        for number, record in zip(bench.patients.tolist(), bench.records, strict=True):
            by_patient.setdefault(number, []).append(stated[record.instance])
        return tuple(of_patient(by_patient[number]) for number in range(len(by_patient)))

    def training_records(self, plan: Plan) -> list[FrozenRecord]:
        """The records frozen for the plan whose images the plan's task is asked of."""
        return self._fitting(plan, self._store.frozen(plan.hash))

    def _fitting(self, plan: Plan, frozen: Sequence[FrozenRecord]) -> list[FrozenRecord]:
        rows = self._store.instances(ids={record.instance for record in frozen})
        fitting = {row.id for row in rows if not why_not_applicable(plan.task, row)}
        return [record for record in frozen if record.instance in fitting]

    def _build(self, plan: Plan, records: list[FrozenRecord]) -> Workbench:
        release = self._releases.get(plan.release)
        return Workbench(plan, release, training_set.build(self._store, records, release))
