"""`medquorum node realtime | allow-caller`: proposals for viewers in the hospital, as images are taken."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from ..network.commands import Folder, node
from ..service_log import log_to_standard_error


@node.command()
def realtime(
    folder: Folder,
    listen: Annotated[str, typer.Option(help="HOST:PORT; 127.0.0.1 reaches nobody else.")] = "127.0.0.1:50061",
    host: Annotated[
        list[str] | None, typer.Option(help="A name or address that callers use for this machine; may be repeated.")
    ] = None,
) -> None:
    """Answer viewers about images with the current release's proposals, over gRPC with mutual TLS, until stopped."""
    from ..intake.opening import open_gate
    from ..intake.settings import IntakeSettings
    from ..realtime.looking import lender
    from ..realtime.serving import serving

    log_to_standard_error()
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    store = lender(folder / "store")
    with open_gate(IntakeSettings.of(folder)) as gate, serving(folder, gate, store, listen, host or ()) as service:
        typer.echo(f"Answering on port {service.port}. Research use, not a medical device; a human decides.")
        ending.wait()


@node.command("allow-caller")
def allow_caller(
    caller: Annotated[str, typer.Argument(help="The viewer or modality, by a name of your own.")],
    into: Annotated[Path, typer.Argument(help="The folder for its certificate and key.")],
    folder: Folder,
) -> None:
    """Give a viewer the certificate and key without which the real-time service does not answer it."""
    from ..realtime.service import allow

    issued = allow(folder, caller, into)
    typer.echo(
        f"Hand {issued.certificate}, {issued.key} and {issued.authority} to {caller}. The key opens the service."
    )
