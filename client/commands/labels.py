"""`medquorum node label-rule | disputes | provenance`: which labels count, and what training rests on."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated

import typer

from ..errors import NodeError
from ..network.commands import AsJson, Folder, node


@node.command("label-rule")
def label_rule(
    folder: Folder,
    rule: Annotated[
        str,
        typer.Argument(
            help='"any": the newest reading counts; "two": what two readers agree on, or a lead settled; "lead": what '
            "a lead reader says. Nothing: say which rule is in force.",
            show_default=False,
        ),
    ] = "",
    lead: Annotated[list[str] | None, typer.Option(help="A lead reader, whose word settles; may be repeated.")] = None,
) -> None:
    """Set or show which labels enter training and evaluation. What was frozen for a plan stays as it is."""
    from typing import cast

    from ..settling import Kind, LabelRule
    from ..store import Store

    with Store.open(folder / "store") as store:
        if rule:
            store.labels().set_rule(LabelRule(cast("Kind", rule), tuple(lead or ())))
        known = store.labels().rule()
    leads = f"; leads: {', '.join(known.leads)}" if known.leads else ""
    typer.echo(f"Labels count by the rule {known.kind!r}{leads}.")


@node.command()
def disputes(folder: Folder, as_json: AsJson = False) -> None:
    """List the frames on which readers disagree and no lead has settled it, and count those that wait for a reader."""
    from ..settling import Settled
    from ..store import Store

    with Store.open(folder / "store") as store:
        standings = store.labels().standings()
        counts = Counter("settled" if isinstance(one, Settled) else one.why for one in standings.values())
        disputed = [
            (store.instance(instance).source, instance, frame)
            for (instance, frame), one in standings.items()
            if not isinstance(one, Settled) and one.why == "disputed"
        ]
    if as_json:
        found = [{"source": source, "instance": instance, "frame": frame} for source, instance, frame in disputed]
        typer.echo(json.dumps({"counts": counts, "disputed": found}, indent=1))
        return
    for source, instance, frame in disputed:
        typer.echo(f"{source} frame {frame} ({instance})")
    typer.echo(
        f"{counts['settled']} frames settled, {counts['waiting']} wait for another reader, {len(disputed)} disputed."
    )


@node.command()
def provenance(
    folder: Folder,
    plan: Annotated[str, typer.Argument(help="The plan's name, as the budget lists it.")],
    as_json: AsJson = False,
) -> None:
    """Say, for every record that a plan trains on or is measured by, who read it and how its label came to count."""
    from ..agreements import Agreements
    from ..store import Store

    agreements = Agreements(folder / "agreements.sqlite")
    try:
        known = agreements.by_name(plan)
    finally:
        agreements.close()
    if known is None:
        raise NodeError(f"this node countersigned no plan {plan!r}", fix="medquorum node budget lists those it knows")
    with Store.open(folder / "store") as store:
        rests = store.labels().provenance(known.hash)
        read = store.annotations([one for record in rests for one in record.basis])
    records = [
        {
            "instance": one.record.instance,
            "frame": one.record.frame,
            "used": "evaluation" if one.record.held_out else "training",
            "label": one.how,
            "readings": [
                {
                    "reader": read[name].reader,
                    "at": read[name].at.isoformat(),
                    "proposal": "hidden or none" if read[name].proposal is None else f"shown, of {read[name].release}",
                    "as_lead": read[name].as_lead,
                    "weighed": list(read[name].weighed),
                    "states": dict(read[name].states),
                }
                for name in one.basis
            ],
        }
        for one in rests
    ]
    if as_json:
        typer.echo(json.dumps({"plan": plan, "records": records}, indent=1))
        return
    how = Counter((str(one["used"]), str(one["label"])) for one in records)
    for (used, label), count in sorted(how.items()):
        typer.echo(f"{used}: {count} records, label {label}")
    readers = Counter(read[name].reader for one in rests for name in one.basis)
    for reader, count in sorted(readers.items()):
        typer.echo(f"{reader}: {count} readings")
