"""`medquorum node …`: what a hospital's IT types to set a node up and keep it running."""

from __future__ import annotations

import signal
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..service_log import log_to_standard_error

if TYPE_CHECKING:
    from .settings import NetworkSettings

node = typer.Typer(help="Run a hospital's node.", no_args_is_help=True)

ReviewListen = Annotated[
    str, typer.Option(metavar="ADDRESS:PORT", help="Serve the review page on the LAN, to readers with accounts.")
]
ReviewNames = Annotated[
    list[str] | None, typer.Option(help="What browsers on the LAN call this machine; may be repeated.")
]
ReviewCertificate = Annotated[Path | None, typer.Option(help="The certificate for that name (PEM).")]
ReviewKey = Annotated[Path | None, typer.Option(help="The certificate's private key (PEM, mode 0600).")]
ReviewOidc = Annotated[
    Path | None, typer.Option(help="Settings of the hospital's identity provider (TOML), instead of passwords.")
]
Folder = Annotated[Path, typer.Option("--folder", help="The node's folder.", envvar="MEDQUORUM_NODE")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on stdout.")]


@node.command()
def init(
    site: Annotated[str, typer.Argument(help="The site's name, as the consortium will know it.")],
    folder: Folder,
    epsilon_cap: Annotated[float, typer.Option(help="Bound on the privacy budget of all plans ever, together.")] = 16.0,
    delta: Annotated[float, typer.Option(help="Largest delta that one plan may have.")] = 1e-4,
) -> None:
    """Lay out a node: its encrypted store, privacy ledger, policy file and keys. Nothing leaves this machine."""
    from ..keys import key_path, open_node_key
    from ..node import Node
    from .settings import NetworkSettings

    Node.create(folder, site, epsilon_cap=epsilon_cap, delta=delta).close()
    settings = NetworkSettings(folder, open_node_key(folder / "store"))
    settings.create_keys()
    _say(f"Node for {site} in {folder}. Its identity in six words:\n\n    {_words(settings)}\n")
    _say(
        f"Read {folder / 'policy.toml'} and change what this site allows. Keep a copy of {key_path(folder / 'store')}."
    )
    _say(f"Next: medquorum node enrol HOST:PORT --authority authority.pem --folder {folder}")


@node.command()
def enrol(
    address: Annotated[str, typer.Argument(help="The coordinator's front door, HOST:PORT.")],
    authority: Annotated[Path, typer.Option(help="The consortium authority's certificate, as the operator sent it.")],
    folder: Folder,
    proxy: Annotated[str, typer.Option(help="The hospital's HTTP proxy, if connections must go through one.")] = "",
) -> None:
    """Ask to join a consortium with this site's own keys."""
    from ...privacy.identity import fingerprint
    from ..store import Store
    from .enrol import authority_fingerprint
    from .enrol import enrol as send
    from .fleet import Endpoint

    settings = _settings(folder)
    with Store.open(folder / "store") as store:
        site = store.setting("site")
    _say(f"Authority's certificate: SHA-256 {authority_fingerprint(authority)}")
    others = send(settings, site, Endpoint(address, authority, proxy or None))
    _say(f"Asked to join as {site}. Read these six words to the operator by telephone:\n\n    {_words(settings)}\n")
    _say("and let the operator read the coordinator's; if they are not these, do not go on:\n")
    _say(f"    {' '.join(fingerprint(settings.coordinator().key))}\n")
    _say(f"Other sites listed: {', '.join(others) or 'none yet'}.")
    _say(f"Next, for each of them: medquorum node trust SITE --folder {folder}; then: medquorum node run")


@node.command()
def trust(
    folder: Folder,
    site: Annotated[str, typer.Argument(help="The other site; without it, each that the coordinator lists.")] = "",
    words: Annotated[str, typer.Option(help="The six words that its admin read out; asked for when absent.")] = "",
) -> None:
    """Put other sites on this node's roster, each by the six words that its admin reads out."""
    from ...privacy.roster import admit_by_word
    from .enrol import listed, others

    if words and not site:
        raise typer.BadParameter("--words are one site's: name it")
    settings = _settings(folder)
    endpoint, known = settings.endpoint(), {member.site for member in settings.roster().members}
    found = [listed(endpoint, site)] if site else [one for one in others(endpoint) if one.site not in known]
    for one in found:
        asked = f"The six words that {one.site}'s admin reads out" + ("" if site else " (nothing: not now)")
        spoken = words or typer.prompt(asked, default=None if site else "", show_default=False)
        if spoken:
            settings.keep_roster(admit_by_word(settings.roster(), one.site, one.key, spoken, int(time.time())))
            _say(f"{one.site} is on this node's roster.")
    if not found:
        _say("The coordinator lists no site that is not on this node's roster already.")


@node.command()
def distrust(site: Annotated[str, typer.Argument(help="The other site.")], folder: Folder) -> None:
    """Take another site off this node's roster. It counts from the next message on."""
    from ...privacy.roster import revoke_by_word

    settings = _settings(folder)
    settings.keep_roster(revoke_by_word(settings.roster(), site, int(time.time())))
    _say(f"{site} is revoked on this node's roster.")


@node.command()
def roster(folder: Folder) -> None:
    """List the sites that this node trusts, with their six words."""
    from ...privacy.identity import fingerprint

    for member in _settings(folder).roster().members:
        state = "" if member.revoked is None else "  (revoked)"
        _say(f"{member.site:20} {' '.join(fingerprint(member.key))}{state}")


@node.command()
def budget(
    folder: Folder,
    as_json: AsJson = False,
) -> None:
    """Say what this site's privacy ledger has spent, and how many rounds are still affordable."""
    import json
    from dataclasses import asdict

    from ...privacy.ledger import Ledger
    from ..agreements import Agreements
    from ..budget import budget as of
    from ..budget import lines

    ledger = Ledger.open(folder / "ledger.sqlite")
    agreements = Agreements(folder / "agreements.sqlite")
    try:
        found = of(ledger, agreements)
    finally:
        agreements.close()
    _say(json.dumps(asdict(found), indent=1) if as_json else "\n".join(lines(found)))


@node.command()
def run(
    folder: Folder,
    realtime: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Also answer viewers here; see medquorum node realtime.")
    ] = "",
    review: Annotated[
        int, typer.Option(metavar="PORT", help="Also serve the review page here; see medquorum node review.")
    ] = 0,
    review_listen: ReviewListen = "",
    review_name: ReviewNames = None,
    review_certificate: ReviewCertificate = None,
    review_key: ReviewKey = None,
    review_oidc: ReviewOidc = None,
) -> None:
    """Stay connected to the coordinator and answer its messages, until stopped by a signal."""
    from ..answering import reply
    from ..audit_log import this_user
    from ..desk.exposure import exposure_of
    from ..desk.serving import serving as desk_serving
    from ..intake.drain import Draining
    from ..intake.opening import open_gate
    from ..intake.settings import IntakeSettings
    from ..node import Node
    from ..operations.running import Reporting
    from ..proposing import Proposing
    from ..realtime.serving import serving
    from ..spool import spool_of
    from .contacting import Contacting
    from .fleet import FleetTransport
    from .resident import Resident
    from .secure import secure_side

    log_to_standard_error()
    settings = _settings(folder)
    fleet = FleetTransport(settings.endpoint(), settings.flower_key(), settings.flower_number)
    transport = Contacting(fleet, folder)
    with Node.open(folder) as probe:
        minimum = max(3, probe.policy.minimum_quorum)
    trust = settings.trust()
    exposure = exposure_of(review_listen, review_name, review_certificate, review_key, review_oidc)
    with Node.open(folder, side=secure_side(trust.identity, settings.roster, minimum), trust=trust) as opened:
        resident = Resident(transport, lambda message: reply(opened, message))
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: resident.stop())
        # This process has the store open for as long as it runs, so that it takes in what others received.
        with (
            Reporting(folder, opened.store),
            open_gate(IntakeSettings.of(folder)) as gate,
            Draining(opened.store, spool_of(folder), gate),
            Proposing(opened.store, opened.releases),
            serving(folder, gate, lambda: nullcontext(opened.store), realtime, ()) if realtime else nullcontext(),
            desk_serving(opened.store, opened.releases, folder, this_user(), review, exposure).beside()
            if review or exposure
            else nullcontext() as desk,
        ):
            if desk is not None:
                _say(desk.announcement())
            resident.run()


def _settings(folder: Path) -> NetworkSettings:
    from ..keys import open_node_key
    from .settings import NetworkSettings

    return NetworkSettings(folder, open_node_key(folder / "store"))


def _words(settings: NetworkSettings) -> str:
    from ...privacy.identity import fingerprint

    return " ".join(fingerprint(settings.identity().public))


def _say(line: str) -> None:
    typer.echo(line)
