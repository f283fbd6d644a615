"""One training of the comparison by production's own code: real nodes and the real coordinator, in this process.

Each hospital is a node with a ledger of its own, whose workbench was given its rows instead of building them from the
store. What is sent, clipped, noised, charged and summed is what a federation sends, clips, noises, charges and sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from ...client.benches import Benches
from ...client.finetune import Workbench
from ...client.node import Node
from ...client.policy import Policy
from ...client.rights import SimulationRights
from ...client.store import FrozenRecord, Store
from ...client.training_set import TrainingSet
from ...models.checkpoint import Release
from ...privacy.ledger import Ledger
from ...privacy.plan import Plan, PlanSite
from ...server.progress import Watcher, silent
from ..engine import federate
from ..engine.federate import SETTINGS
from ..study import Study
from ..training import privacy_terms, train_pooled
from .cells import Cell
from .folds import Fold, Ward


@dataclass(frozen=True, slots=True)
class Trained:
    """What a cell's training left: the model, the plan it followed, what the ledgers were charged at most (None
    without privacy), and the bytes that all sites sent."""

    release: Release
    plan: Plan
    epsilon: float | None
    sent: int


class _Ready(Benches):
    """Workbenches on rows that are there already."""

    def __init__(self, release: Release, rows: TrainingSet) -> None:
        self._release = release
        self._rows = rows
        self._bench: tuple[bytes, Workbench] | None = None

    def training(self, plan: Plan) -> Workbench:
        if self._bench is None or self._bench[0] != plan.hash:
            self._bench = (plan.hash, Workbench(plan, self._release, self._rows))
        return self._bench[1]

    def training_records(self, plan: Plan) -> list[FrozenRecord]:
        return list(self._rows.records)


def study_of(study: Study, mode: str, epsilon: float | None) -> Study:
    """The study with the plan of one cell: its mode and epsilon, the study's own settings for them, and no evaluation
    between rounds.

    Distributed noise needs one local step a round and an optimiser that remembers at the coordinator alone. There a
    plan's rounds of several steps become as many rounds of one, its sites' momentum the coordinator's, and FedProx,
    whose pull is nothing in a first step, FedAvg.
    """
    plan = replace(study.plan, mode=mode, evaluation_bins=0)  # pyright: ignore[reportArgumentType]  Options checked it
    if epsilon is not None:
        plan = replace(plan, epsilon=epsilon, epsilon_cap=epsilon)
    for settings in study.compare.settings:
        if settings.mode == mode and settings.epsilon in (None, epsilon):
            plan = replace(plan, **dict(settings.changes))  # pyright: ignore[reportArgumentType]  read by key and type
    if mode == "distributed":
        plan = replace(
            plan,
            rounds=plan.rounds * plan.local_steps,
            local_steps=1,
            momentum=0.0,
            server_momentum=plan.server_momentum or plan.momentum,
            strategy="fedavg" if plan.strategy == "fedprox" else plan.strategy,
            proximal=0.0,
        )
    else:
        plan = replace(plan, colluding=0)
    return replace(study, plan=plan)


def plan_of(fold: Fold, cell: Cell) -> Plan:
    """The plan of a cell. A PrivacyError, with the figures that would work, where there can be none."""
    study = study_of(fold.study, cell.mode, cell.epsilon)
    wards = [ward for ward in fold.wards if cell.kind != "alone" or ward.name == cell.site]
    alone = replace(study, plan=replace(study.plan, quorum=1)) if cell.kind == "alone" else study
    return alone.plan.plan(
        consortium=f"comparison of {study.name}",
        name=cell.name,
        task=study.task,
        release=fold.release,
        sites=[PlanSite(ward.name, ward.nominal) for ward in wards],
        privacy=privacy_terms(study, [ward.nominal for ward in wards]),
        seed=fold.study.seed,
    )


def train(fold: Fold, cell: Cell, sets: Sequence[TrainingSet], folder: Path, on_event: Watcher = silent) -> Trained:
    """Train a cell; `sets` are all hospitals' rows, aligned with the fold's; `folder` is for what it leaves on disk;
    `on_event` watches a federation's rounds."""
    plan = plan_of(fold, cell)
    if cell.kind == "pooled":
        return Trained(train_pooled(fold.study, sets, plan, fold.release, lambda _: None), plan, None, 0)
    named = {site.name for site in plan.sites}
    with ExitStack() as stack:
        nodes: dict[str, Node] = {}
        for number, (ward, rows) in enumerate(zip(fold.wards, sets, strict=True)):
            if ward.name in named:
                nodes[ward.name] = node = _node(folder / f"site{number + 1}", fold, ward, rows, plan)
                stack.callback(node.close)
        settings = replace(SETTINGS, synthetic=fold.study.synthetic)
        outcome = federate(nodes, plan, fold.release, folder / "run", on_event=on_event, settings=settings)
        spent = None if plan.privacy.mode == "none" else max(node.ledger.spent() for node in nodes.values())
    return Trained(outcome.release, plan, spent, sum(one.up for one in outcome.traffic))


def _node(folder: Path, fold: Fold, ward: Ward, rows: TrainingSet, plan: Plan) -> Node:
    folder.mkdir(parents=True)
    # A ledger has a cap above 0, also where nothing is charged to it.
    cap = plan.privacy.epsilon if plan.privacy.mode != "none" else 1.0
    policy = Policy(plan_epsilon=cap, modes=(plan.privacy.mode,), minimum_quorum=1)
    ledger = Ledger.create(folder / "ledger.sqlite", ward.name, cap, plan.privacy.delta)
    store = Store.create(folder / "store", ward.name)  # empty: the rows are ready
    rights = SimulationRights(seed=fold.study.seed)
    return Node(folder, store, ledger, policy, rights, None, None, _Ready(fold.release, rows))
