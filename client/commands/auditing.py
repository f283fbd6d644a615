"""`medquorum node audit …`: who did what on this node, and whether the log of it is whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from ..network.commands import AsJson, Folder, node

audit = typer.Typer(help="Read and check the audit log.", no_args_is_help=True)
node.add_typer(audit, name="audit")


@audit.command()
def verify(folder: Folder, as_json: AsJson = False) -> None:
    """Check every entry of the audit log. While the node runs, only against the log's own head."""
    from ..audit_log import AuditLog
    from ..keys import open_node_key
    from ..operations.running import holder
    from ..store import Store

    log, whole = AuditLog(folder / "store", open_node_key(folder / "store")), holder(folder / "store") is None
    remembered = None
    if whole:
        # Looked at without a trace, since a trace would be one more entry of the log that is in question.
        with Store.open(folder / "store", audited=False) as store:
            remembered = store.audit_head()
    head = log.verify(remembered)
    if as_json:
        typer.echo(json.dumps({"entries": head.entries, "hash": head.hash.hex(), "checked_database": whole}))
        return
    typer.echo(f"The audit log is whole: {head.entries} entries, ending in {head.hash.hex()[:16]}.")
    if not whole:
        typer.echo("The node is running, so the head in its database was not compared; stop it for that.")


@audit.command("list")
def list_entries(
    folder: Folder,
    kind: Annotated[str, typer.Option(help="Only entries of this kind, such as export, review or charge.")] = "",
    last: Annotated[int, typer.Option(help="Only the last so many; 0: all.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """List the audit log's entries, oldest first."""
    from ..audit_log import AuditLog
    from ..keys import open_node_key

    log = AuditLog(folder / "store", open_node_key(folder / "store"))
    found = [entry for entry in log.entries() if not kind or entry.kind == kind][-last:]
    if as_json:
        typer.echo(json.dumps({"entries": [asdict(entry) for entry in found]}, indent=1))
        return
    for entry in found:
        what = ", ".join(f"{name} {value}" for name, value in entry.what.items())
        typer.echo(f"{entry.number:6}  {entry.at}  {entry.kind:10}  {entry.who}  {what}".rstrip())


@audit.command("begin-again")
def begin_again(folder: Folder) -> None:
    """Put a broken audit log aside as evidence, and begin a new one whose first entry says so."""
    from ..audit_log import AuditLog
    from ..keys import open_node_key
    from ..store import Store

    log = AuditLog(folder / "store", open_node_key(folder / "store"))
    with Store.open(folder / "store", audited=False) as store:
        aside = store.begin_audit_again(log)
    typer.echo("There was no log." if aside is None else f"The old log is kept as {aside}; keep its head beside it.")
