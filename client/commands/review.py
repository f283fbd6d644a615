"""`medquorum node review`: the readers' page, on this machine or on the hospital's LAN."""

from __future__ import annotations

from typing import Annotated

import typer

from ..network.commands import (
    Folder,
    ReviewCertificate,
    ReviewKey,
    ReviewListen,
    ReviewNames,
    ReviewOidc,
    node,
)
from ..service_log import log_to_standard_error


@node.command()
def review(
    folder: Folder,
    port: Annotated[int, typer.Option(help="Where to serve on 127.0.0.1; 0 takes any that is free.")] = 8787,
    reader: Annotated[str, typer.Option(help="Who reads on this machine (default: its user).")] = "",
    listen: ReviewListen = "",
    name: ReviewNames = None,
    certificate: ReviewCertificate = None,
    key: ReviewKey = None,
    oidc: ReviewOidc = None,
) -> None:
    """Serve the review page until stopped by a signal: to this machine's browser and nobody else, or, with --listen, to
    the hospital's LAN over TLS, for readers who sign in."""
    from ..audit_log import this_user
    from ..desk.exposure import exposure_of
    from ..desk.serving import serving
    from ..errors import StoreBusyError
    from ..releases import Releases
    from ..store import Store

    log_to_standard_error()
    exposure = exposure_of(listen, name, certificate, key, oidc)
    if exposure is not None and reader:
        raise typer.BadParameter("on the LAN readers are who they sign in as")
    try:
        store = Store.open(folder / "store")
    except StoreBusyError as fault:
        raise StoreBusyError(
            fault.what,
            where=fault.where,
            fix="if that process is medquorum node run, start it with --review: one process then does both",
        ) from fault
    with store:
        desk = serving(store, Releases(folder / "releases"), folder, reader or this_user(), port, exposure)
        typer.echo(f"Reading the worklist of {store.count()} images …", err=True)
        desk.prepare()
        desk.run(lambda: typer.echo(desk.announcement()))


@node.command("review-certificate")
def review_certificate(
    folder: Folder,
    name: Annotated[list[str], typer.Argument(help="What browsers call this machine: names or addresses.")],
) -> None:
    """Issue a certificate for the review page from an authority of this node's own, for hospitals that have none.

    Browsers warn until they are told to trust that authority.
    """
    from ...privacy.certificates import fingerprint, issue, make_authority

    place = folder / "desk"
    place.mkdir(mode=0o700, exist_ok=True)
    make_authority(place, "medquorum review page")
    issued = issue(place, "server", tuple(one.lower() for one in name))
    typer.echo(f"For the review page: --certificate {issued.certificate} --key {issued.key}")
    typer.echo(f"Have the readers' browsers trust {issued.authority}, SHA-256 {fingerprint(issued.authority)}.")
