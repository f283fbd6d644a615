"""`medquorum node review`: the reader's page on this machine."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from ..network.commands import Folder, node


@node.command()
def review(
    folder: Folder,
    port: Annotated[int, typer.Option(help="Where to serve on 127.0.0.1; 0 takes any that is free.")] = 8787,
    reader: Annotated[str, typer.Option(help="Who reads (default: this machine's user).")] = "",
) -> None:
    """Serve the review page to this machine's browser, and nobody else, until stopped by a signal."""
    from ..audit_log import this_user
    from ..desk.serving import DeskServer, announcement
    from ..errors import StoreBusyError
    from ..releases import Releases
    from ..store import Store

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        store = Store.open(folder / "store")
    except StoreBusyError as fault:
        raise StoreBusyError(
            fault.what,
            where=fault.where,
            fix="if that process is medquorum node run, start it with --review: one process then does both",
        ) from fault
    with store:
        desk = DeskServer(store, Releases(folder / "releases"), folder, reader or this_user(), port)
        typer.echo(f"Reading the worklist of {store.count()} images …", err=True)
        desk.prepare()
        desk.run(lambda: typer.echo(announcement(desk.address())))
