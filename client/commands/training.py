"""`medquorum node training-rule`: whose turn to take part in plans has come."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from ..network.commands import AsJson, Folder, node


@node.command("training-rule")
def training_rule(
    folder: Folder,
    share: Annotated[
        float | None,
        typer.Option(help="Of all patients, the share (up to 1) that ever takes part; the others need not be read."),
    ] = None,
    a_day: Annotated[
        int | None,
        typer.Option(help="So many more patients take part each day from today on; 0: all of the share at once."),
    ] = None,
    of: Annotated[
        int | None, typer.Option(help="With --a-day: how many patients this site declares, as in its plans.")
    ] = None,
    wait_days: Annotated[
        int | None,
        typer.Option(help="Leave out what arrived in the last so many days, so that readers have time; 0: nothing."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set or show which patients take part in plans; the node joins none before all of these are read or set aside.

    Each patient's turn comes by a keyed coin of their own, whatever readers have done: only so is a plan's privacy
    figure true of a hospital that has read a part. Choose once, before reading begins. By default all take part.
    """
    from datetime import UTC, datetime

    from ..entering import EntryRule
    from ..operations.running import turns_of
    from ..store import Store

    with Store.open(folder / "store") as store:
        rules = store.entering()
        rule = rules.rule()
        if (share, a_day, of, wait_days) != (None, None, None, None):
            kept = (rule.a_day, rule.declared, rule.since)
            if a_day is not None or of is not None:
                kept = (a_day or 0, of or 0, datetime.now(UTC).date().isoformat() if a_day else "")
            chosen = rule.share if share is None else share
            rule = EntryRule(chosen, *kept, rule.wait_days if wait_days is None else wait_days)
            rules.set_rule(rule)
        turns = turns_of(folder, store)
    if as_json:
        typer.echo(json.dumps({**asdict(rule), **asdict(turns)}, indent=1))
        return
    everybody = "Every patient takes part" if rule.share == 1.0 else f"{rule.share:.1%} of the patients take part"
    days = f", {rule.a_day} a day of {rule.declared} since {rule.since}" if rule.a_day else ""
    waits = f"; what arrived in the last {rule.wait_days} days is left out" if rule.wait_days else ""
    typer.echo(f"{everybody}, by a coin of their own{days}{waits}." if not rule.everybody else f"{everybody}{waits}.")
    typer.echo(f"The turn of {turns.patients} has come; {turns.unread} of them are not read. No plan is joined before.")
