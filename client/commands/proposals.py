"""`medquorum node adopt | propose`: which release proposes, and proposals for what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..network.commands import AsJson, Folder, node


@node.command()
def adopt(
    release: Annotated[Path, typer.Argument(help="The release's folder, as the coordinator's operator sent it.")],
    folder: Folder,
    expected: Annotated[
        str, typer.Option("--hash", help="The SHA-256 that the operator named; another release is refused.")
    ] = "",
) -> None:
    """Let a release propose from now on, if this site's policy allows its network and findings."""
    from ...models import checkpoint
    from ..audit_log import AuditLog, this_user
    from ..keys import open_node_key
    from ..policy import Policy
    from ..releases import ReleaseError, Releases

    found = checkpoint.load(release)
    name = found.hash.hex()
    if expected and name != expected.strip().lower():
        raise ReleaseError(
            f"the folder holds release {name}",
            where=str(release),
            fix="ask the operator for the release that was named",
        )
    task = found.card.task
    Policy.read(folder / "policy.toml").check_model(found.card.architecture.backbone, task)
    Releases(folder / "releases").adopt(found)
    AuditLog(folder / "store", open_node_key(folder / "store")).append("settings", this_user(), release=name)
    asked = "; ".join(finding.name for finding in task.findings)
    where = " ".join(part for part in (task.modality, task.body_part, task.view) if part)
    typer.echo(f"Release {name} proposes from now on: {asked}, in {where} images.")
    for record in found.card.training:
        cost = "without privacy" if record.epsilon is None else f"epsilon {record.epsilon:g} a site"
        typer.echo(f"    trained by plan {record.plan!r}: {record.rounds} rounds, {len(record.sites)} sites, {cost}")
    typer.echo("What medquorum node run has stored already is proposed for again; else: medquorum node propose")


@node.command("propose")
def propose_all(
    folder: Folder,
    as_json: AsJson = False,
) -> None:
    """Propose for what is stored and the current release has not looked at; medquorum node run does so by itself."""
    from ..propose import propose
    from ..releases import ReleaseError, Releases
    from ..store import Store

    release = Releases(folder / "releases").current()
    if release is None:
        raise ReleaseError("this node has no release yet", where=str(folder), fix="medquorum node adopt RELEASE-FOLDER")
    with Store.open(folder / "store") as store:
        report = propose(store, release)
    if as_json:
        failed = [{"instance": one.instance, "source": one.source, "reason": one.reason} for one in report.failed]
        document = {"proposed": report.proposed, "not_applicable": report.not_applicable, "failed": failed}
        typer.echo(json.dumps({"release": release.hash.hex(), **document, "seconds": report.seconds}, indent=1))
        return
    typer.echo(f"{report.proposed} images proposed for, {report.not_applicable} outside what the release is for.")
    for one in report.failed:
        typer.echo(f"    {one.source}: {one.reason}")
