"""`medquorum coordinator …`: what a consortium's operator types."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

coordinator = typer.Typer(help="Run a consortium's coordinator.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--folder", help="The coordinator's folder.", envvar="MEDQUORUM_COORDINATOR")]


@coordinator.command()
def init(
    consortium: Annotated[str, typer.Argument(help="The consortium's name.")],
    folder: Folder,
) -> None:
    """Lay out a coordinator: its consortium, its identity and the authority, which hospitals will pin."""
    from ...privacy.identity import fingerprint as words
    from .certificates import fingerprint, make_authority
    from .consortium import Consortium

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    created = Consortium.create(folder, consortium)
    authority = make_authority(folder, consortium)
    typer.echo(f"Consortium {consortium} in {folder}. Send {authority} to the hospitals; its fingerprint, to be")
    typer.echo(f"compared by telephone, is SHA-256\n\n    {fingerprint(authority)}\n")
    typer.echo("Its own identity signs the plans. The six words that every hospital compares when it enrols:\n")
    typer.echo(f"    {' '.join(words(created.key))}\n")
    typer.echo(f"Next: medquorum coordinator serve --folder {folder} --name HOST")


@coordinator.command()
def serve(
    folder: Folder,
    name: Annotated[list[str], typer.Option(help="A host name or address that hospitals connect to; repeatable.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Port to listen on: the only one that is open to others.")] = 8443,
) -> None:
    """Serve the consortium until stopped by a signal."""
    from .service import Address, Service

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    service = Service(folder, Address(host, port, tuple(name)))
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: service.stop())
    service.run()


@coordinator.command()
def sites(folder: Folder) -> None:
    """List the sites that asked to join, with their six words and how they stand."""
    from .consortium import Consortium

    for site, record in Consortium(folder).records().items():
        state = "revoked" if record.revoked else "approved" if record.approved else "waiting for approval"
        typer.echo(f"{site:20} {record.words:42} {state}")


@coordinator.command()
def approve(
    site: Annotated[str, typer.Argument(help="The site.")],
    folder: Folder,
    words: Annotated[str, typer.Option(help="The six words that its admin read out; asked for when absent.")] = "",
) -> None:
    """Approve a site whose admin read out the six words of its key."""
    from .consortium import Consortium

    spoken = words or typer.prompt(f"The six words that {site}'s admin reads out")
    Consortium(folder).approve(site, spoken)
    typer.echo(f"{site} is approved; its node is admitted as soon as the coordinator serves.")


@coordinator.command()
def revoke(site: Annotated[str, typer.Argument(help="The site.")], folder: Folder) -> None:
    """Shut a site out. Its node is refused from the next message on."""
    from .consortium import Consortium

    Consortium(folder).revoke(site)
    typer.echo(f"{site} is revoked.")
