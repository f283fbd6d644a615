"""A whole federation on one machine, by the real nodes and the real coordinator."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from flwr.app import Context, RecordDict

from ...client.aggregation import SiteSide
from ...client.answering import reply
from ...client.node import Node
from ...client.rights import SimulationRights
from ...models.checkpoint import Release
from ...privacy.plan import Plan
from ...server.aggregation import PLAIN, CoordinatorSide
from ...server.app import RUN_FOLDER, server_app
from ...server.outcome import Outcome
from ...server.progress import Watcher, silent
from ...server.run_folder import RunFolder, Settings
from ..errors import SimulationError
from .local_grid import LocalGrid

EngineName = Literal["inprocess", "ray"]

# Simulated sites are there or they are not: nothing is gained by waiting for one.
SETTINGS = Settings(aggregation="plain", synthetic=False, gather_seconds=0.0, attempts=2, wait_seconds=0.0)
RAY_START_SECONDS = 600.0
# Parameters times input pixels, about the multiplications of one image's forward pass: a CNN of width 32 at 64 pixels.
_TINY = 2e8


def federate(
    nodes: Mapping[str, Path | Node],
    plan: Plan,
    release: Release,
    out: Path,
    engine: EngineName = "inprocess",
    rights: SimulationRights | None = None,
    on_event: Watcher = silent,
    settings: Settings = SETTINGS,
    sides: Mapping[str, CoordinatorSide] = PLAIN,
    site_side: SiteSide | None = None,
) -> Outcome:
    """Carry out `plan` among `nodes`, or go on with the run that `out` holds.

    nodes: by site, a node's folder (opened with `rights` and `site_side`, and closed at the end) or an open node (used
    as it is; Ray opens nodes in other processes and takes folders only). out: the run's folder (plan, checkpoint,
    final release). engine: "inprocess" calls the nodes one after another; "ray" runs them in Flower's simulation
    engine. settings: patience,
    aggregation and the `synthetic` mark. sides: the coordinator's sides of aggregation by name; site_side: the nodes'
    counterpart of the one in the settings (default: the plain sum, under `rights`).

    Raises RunError when `out` holds another run or the release is not the plan's, BusyError when another process
    carries it out, QuorumError when too few sites agree or answer (start again to go on).
    """
    if engine == "ray":
        # Its processes are still starting when the coordinator already greets.
        settings = replace(settings, greet_seconds=RAY_START_SECONDS)
    RunFolder.prepare(out, plan, release, settings)
    outcomes: list[Outcome] = []
    app = server_app(sides, on_event, outcomes.append)
    context = Context(1, 0, {}, RecordDict(), {RUN_FOLDER: str(out)})
    if engine == "ray":
        from .ray import run_on_ray

        folders = [node for node in nodes.values() if isinstance(node, Path)]
        if len(folders) < len(nodes):
            raise SimulationError("Ray was given open nodes", where=engine, fix="close them and give their folders")
        run_on_ray(app, context, folders, rights, site_side)
    else:
        with _opened(nodes, rights, site_side) as opened, _threads(release):
            app(LocalGrid({number: partial(reply, node) for number, node in enumerate(opened, start=1)}), context)
    if not outcomes:
        raise SimulationError("the engine ended without an outcome", where=engine, fix="look at the engine's log")
    return outcomes[0]


def _threads(release: Release) -> AbstractContextManager[None]:
    """One thread for a network whose layers are too small to share, as a tiny CNN's are: ten nodes in one process make
    thousands of them, and beside another busy process two threads took thirty times as long as one."""
    from ...models.threads import one_thread

    parameters = sum(one.numel() for one in release.network().trainable().parameters())
    return one_thread() if parameters * release.card.transform.size**2 <= _TINY else nullcontext()


@contextmanager
def _opened(
    nodes: Mapping[str, Path | Node], rights: SimulationRights | None, side: SiteSide | None
) -> Generator[list[Node]]:
    with ExitStack() as stack:
        yield [
            node if isinstance(node, Node) else stack.enter_context(Node.open(node, rights, side))
            for node in nodes.values()
        ]
