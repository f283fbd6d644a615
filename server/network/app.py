"""The ServerApp that SuperLink starts: the rounds over the real Grid, with the encrypted sum and nothing else.

A run lies in the coordinator's folder as runs/NAME, so the consortium that it belongs to is two folders up.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.superlink.grid.http_grid import HttpGrid

from ...errors import MedquorumError
from ...privacy.aggregation import CoordinatorAggregation
from ...privacy.ranges import value_range, whole_numbers
from ...privacy.roster import Member, Roster
from ...privacy.secure_aggregation import SecureCoordinator, Terms
from ..aggregation import Gathering
from ..app import RUN_FOLDER, coordinate
from ..errors import RunError
from ..trust import CoordinatorTrust
from .consortium import Consortium
from .identity import load_identity
from .journal import Journal
from .requests import note_end
from .steady_grid import SteadyGrid
from .tied import tie

app = ServerApp()


def known_sites(consortium: Consortium) -> Roster:
    """The approved sites as a roster: lets the coordinator notice a faulty site early. No node trusts this list."""
    members = tuple(
        Member(site, record.enrolment.key, 0) for site, record in consortium.records().items() if record.approved
    )
    return Roster(consortium.name, 1, b"", "coordinator", members)


def secure(roster: Roster, gathering: Gathering) -> CoordinatorAggregation:
    """The coordinator's side of the encrypted sum among the sites of `roster`."""
    plan = gathering.plan
    terms = Terms(
        consortium=plan.consortium,
        plan_hash=plan.hash,
        purpose=gathering.purpose,
        round=gathering.round,
        attempt=gathering.attempt,
        sites=plan.sites,
        quorum=plan.quorum,
        length=gathering.length,
        value_range=value_range(plan, gathering.purpose),
        content=gathering.model,
        whole=whole_numbers(plan, gathering.purpose),
    )
    return SecureCoordinator(terms, gathering.cohort, roster)


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry out the run that the launcher's configuration names; say in the run's folder why it stopped, if it did."""
    named = context.run_config.get(RUN_FOLDER)
    if not isinstance(named, str) or not named:
        raise RunError("the run's configuration names no folder", where=RUN_FOLDER, fix="start it by coordinator train")
    # Flower leaves this process running when SuperLink is killed; it would hold the run and ask nobody for ever.
    tie()
    folder = Path(named)
    consortium = Consortium(folder.parent.parent)
    try:
        trust = CoordinatorTrust(load_identity(folder.parent.parent), lambda: known_sites(consortium))
        sides = {"secure": lambda gathering: secure(known_sites(consortium), gathering)}
        coordinate(SteadyGrid(cast(HttpGrid, grid)), folder, sides, Journal(folder), trust)
    except MedquorumError as fault:
        note_end(folder, fault)
        raise
