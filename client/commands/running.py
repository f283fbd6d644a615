"""`medquorum node doctor | status | policy | service`: whether a node can work, how it stands, and that it runs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..network.commands import AsJson, Folder, node

if TYPE_CHECKING:
    from ..policy import Policy

policy = typer.Typer(help="Show the policy in force, or check an edited one.", invoke_without_command=True)
service = typer.Typer(help="Keep the node running by systemd.", no_args_is_help=True)
node.add_typer(policy, name="policy")
node.add_typer(service, name="service")


@node.command()
def doctor(folder: Folder, as_json: AsJson = False) -> None:
    """Check everything that the node needs, and print one thing to do for each failure; status 1 when there is any."""
    from ..operations.doctor import examine, lines

    checks = examine(folder)
    healthy = all(check.state != "failed" for check in checks)
    if as_json:
        typer.echo(json.dumps({"healthy": healthy, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        typer.echo("\n".join(lines(checks)))
    if not healthy:
        raise typer.Exit(1)


@node.command()
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Say what is stored, proposed, reviewed and in quarantine, whether the node runs, and what budget is left."""
    from ..operations.running import lines
    from ..operations.running import status as of

    found = of(folder)
    typer.echo(json.dumps(asdict(found), indent=1) if as_json else "\n".join(lines(found)))


@policy.callback()
def show(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Option(help="The node's folder.", envvar="MEDQUORUM_NODE")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the policy in force, or check an edited one."""
    if context.invoked_subcommand is not None:
        return
    from ..policy import Policy

    if folder is None:
        raise typer.BadParameter("name the node with --folder, or check a file: node policy check FILE")
    _said(Policy.read(folder / "policy.toml"), as_json)


@policy.command()
def check(
    file: Annotated[Path, typer.Argument(help="An edited policy file.", metavar="FILE")], as_json: AsJson = False
) -> None:
    """Check a policy file before it takes the place of the one in force; prints what it would allow."""
    from ..policy import Policy

    _said(Policy.read(file), as_json)
    if not as_json:
        typer.echo("This policy can be used. A running node reads its policy.toml when it is started again.")


@service.command()
def install(
    folder: Folder,
    work: Annotated[str, typer.Argument(help="What is kept running: run, receive, watch or realtime.")] = "run",
    writes: Annotated[
        list[Path] | None, typer.Option(help="Another folder that it may write to, such as the one that is watched.")
    ] = None,
    run_as: Annotated[str, typer.Option(help="The user as whom a system unit runs the node.")] = "medquorum",
    user: Annotated[bool, typer.Option("--user", help="A unit of your own instead, without root.")] = False,
    credential: Annotated[
        Path | None, typer.Option(help="The node's key, encrypted by systemd-creds, in place of the key's file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the unit to this folder instead of systemd's.")] = None,
    start: Annotated[bool, typer.Option("--start", help="Also enable and start it.")] = False,
) -> None:
    """Write a hardened systemd unit for the node and have systemd check it."""
    from ..operations import service as units

    unit = units.Unit(folder.absolute(), "" if user else run_as, work, tuple(writes or ()), credential)
    typer.echo(f"{units.install(unit, out)}: written, and systemd finds no fault in it.")
    if start:
        units.start(unit)
        typer.echo(f"{unit.name} is running, and starts with the machine.")
    else:
        typer.echo("Next:\n" + "\n".join(f"    {command}" for command in units.following(unit)))


def _said(found: Policy, as_json: bool) -> None:
    if as_json:
        plain = {name: "inf" if value == math.inf else value for name, value in asdict(found).items()}
        typer.echo(json.dumps(plain, indent=1))
    else:
        typer.echo(found.text())
