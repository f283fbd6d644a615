"""`medquorum node quality | send-back`: how good this node's labels are, and asking for some to be read again."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from ..network.commands import AsJson, Folder, node


@node.command()
def quality(
    folder: Folder,
    worst: Annotated[int, typer.Option(min=0, help="How many suspected labels to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Say how far readers agree with each other and with the model, which labels are suspected, and what has drifted.

    Nothing leaves this machine, and nothing is changed: suspected labels are for reading again.
    """
    from ..quality import words
    from ..quality.report import quality_report
    from ..releases import Releases
    from ..store import Store

    release = Releases(folder / "releases").current_hash()
    with Store.open(folder / "store") as store:
        found = quality_report(store, "" if release is None else release.hex())
    suspected = {
        one.finding: [each for each in found.suspects if each.finding == one.finding] for one in found.findings
    }
    if as_json:
        document = {
            **asdict(found),
            "at": found.at.isoformat(),
            "suspects": {finding: [asdict(one) for one in labels] for finding, labels in suspected.items()},
        }
        typer.echo(json.dumps(document, indent=1))
        return
    for lack in found.lacks:
        typer.echo(words.LACKS[lack])
    for one in found.findings:
        typer.echo("\n".join(words.finding_lines(one)))
    for reader in found.readers:
        typer.echo(words.reader_line(reader))
    for finding, labels in suspected.items():
        typer.echo(f"{finding}: {len(labels)} labels are suspected; to be read again, never dropped by themselves.")
        for suspect in labels[:worst]:
            typer.echo(f"    {words.suspect_line(suspect)}")
    for one in found.drift:
        typer.echo(words.drift_line(one))
    for line in words.hidden_lines(found.hidden):
        typer.echo(line)


@node.command("send-back")
def send_back(
    folder: Folder,
    image: Annotated[
        str, typer.Argument(help="The image, as node quality names it. Nothing: list what was sent back.")
    ] = "",
    to: Annotated[str, typer.Option(help="The reader who is to look again (default: anybody).")] = "",
    why: Annotated[str, typer.Option(help="suspect, disagreement or other; readers are not told.")] = "other",
    frame: Annotated[int, typer.Option(min=0, help="Which frame of the image, from 0.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Ask for an image to be looked at again, or list what was sent back and what became of it.

    Nothing is dropped: a label counts as before until somebody states another.
    """
    from typing import cast

    from ..audit_log import this_user
    from ..sendback import Why
    from ..store import Store

    with Store.open(folder / "store") as store:
        sent = None
        if image:
            sent = store.labels().send_back(image, frame, this_user(), to, cast("Why", why))
        found = store.labels().sent_back()
    if as_json:
        rows = [{**asdict(one), "at": one.at.isoformat(), "outcome": how} for one, how in found]
        typer.echo(json.dumps({"sent_back": rows}, indent=1))
    elif sent is not None:
        typer.echo(f"{sent.whom or 'Anybody'} is asked to look again at {image} frame {frame}.")
    elif not found:
        typer.echo("Nothing has been sent back.")
    else:
        for one, how in found:
            asked = one.whom or "anybody"
            typer.echo(f"{one.at:%Y-%m-%d %H:%M} {one.instance} frame {one.frame}: {asked}, {one.why}: {how}")
