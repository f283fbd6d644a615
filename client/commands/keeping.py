"""`medquorum node rekey | backup | restore | consent | erase | verify-erasure`: what is kept, and under which key."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import NodeError
from ..network.commands import AsJson, Folder, node

if TYPE_CHECKING:
    from ..store import Store
    from ..store.rows import ConsentKind

Patient = Annotated[
    str,
    typer.Argument(help="The patient: the hospital's identifier, or the id that this node gave.", metavar="PATIENT"),
]
Issuer = Annotated[
    str | None, typer.Option(help="Who issued the identifier, where one identifier has several issuers.")
]


@node.command()
def rekey(
    folder: Folder,
    to: Annotated[
        Path | None, typer.Option(help="A new file for the key, if it is not to replace the old one where that is.")
    ] = None,
) -> None:
    """Give the node a new key; the old one, wherever copies of it lie, opens this node no more. It may be running."""
    from ..operations.rekey import rekey as change

    place = change(folder / "store", to)
    typer.echo(f"The node's new key is in {place}. Replace the copy that you keep of it; destroy the old one's copies.")
    typer.echo("Backups made before open with the old key only: make a new backup now.")


@node.command()
def backup(target: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE")], folder: Folder) -> None:
    """Write the whole node, which must be stopped, to one encrypted file. Its key is not in it."""
    from ..operations.backup import back_up

    made = back_up(folder, target)
    typer.echo(f"{made.path}: {made.files} files, {made.size / 1e6:.1f} MB, encrypted and read back.")
    typer.echo("It opens only with the node's key, which is not in it: keep a copy of that elsewhere.")


@node.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A file that node backup wrote.", metavar="FILE")],
    folder: Folder,
    key: Annotated[Path | None, typer.Option(help="The copy of the key that the node had when it was made.")] = None,
    erased: Annotated[
        Path | None, typer.Option(help="A folder of erasure certificates; those patients are erased again.")
    ] = None,
) -> None:
    """Make a node of a backup in a new folder. It trains again once a peer has told what its ledger lacks."""
    from ..operations.backup import restore as make

    manifest = make(source, folder, key, erased)
    typer.echo(f"Node of {manifest.site} in {folder}, as of {manifest.at}: {manifest.images} images.")
    typer.echo(f"Its privacy ledger has {manifest.charges} entries; before it trains, a peer must show what it lacks.")
    typer.echo("Images and readings since then are not in it; send them to it again. Keep the other node stopped.")


@node.command()
def consent(
    patient: Patient,
    folder: Folder,
    given: Annotated[str, typer.Option(help="The day from which the patient consents, as 2026-05-01.")] = "",
    withdrawn: Annotated[str, typer.Option(help="The day from which the patient opts out, as 2026-05-01.")] = "",
    issuer: Issuer = None,
) -> None:
    """Record that a patient consents or opts out from a day on. It counts for plans that start on that day or later."""
    from ..store import Store

    if bool(given) == bool(withdrawn):
        raise typer.BadParameter("say either --given DATE or --withdrawn DATE")
    kind: ConsentKind = "consent" if given else "opt_out"
    on = _day(given or withdrawn)
    with Store.open(folder / "store") as store:
        found = find(store, patient, issuer)
        store.consent(found, kind, on)
    typer.echo(f"Patient {found} {'consents' if given else 'opts out'} from {on} on.")


@node.command()
def erase(
    patient: Patient,
    folder: Folder,
    issuer: Issuer = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy a patient's data key, and with it images, readings and identifiers, for good; writes a certificate."""
    from ...privacy.ledger import Ledger
    from ..keys import open_node_key
    from ..network.settings import NetworkSettings
    from ..operations.certificate import FOLDER, certify, statement_of, write_certificate
    from ..store import Store

    identity = NetworkSettings(folder, open_node_key(folder / "store")).identity()
    with Store.open(folder / "store") as store:
        ledger = Ledger.open(folder / "ledger.sqlite", store.setting("site"))
        # Its certificate again, where a power cut or a full disk came between the erasure and it.
        gone = store.erasure(patient)
        if gone is None:
            found = find(store, patient, issuer)
            images = len(store.instances(patient=found))
            if not yes and not typer.confirm(f"Destroy {images} images and everything said about patient {found}?"):
                raise typer.Abort
            gone = store.erase(found)
        links, head = len(ledger.book().links), ledger.head().hash
        statement = statement_of(store.setting("site"), gone, links, head)
        path = write_certificate(certify(identity, statement), folder / FOLDER)
    typer.echo(f"Patient {gone.patient} is erased: {gone.instances} images, {gone.events} events. Certificate: {path}")
    typer.echo("What was released about the patient stays released and charged. Older backups still hold the key:")
    typer.echo("make a new backup and destroy the old ones, or give this certificate to node restore --erased.")


@node.command("verify-erasure")
def verify_erasure(
    certificate: Annotated[Path, typer.Argument(help="A certificate that node erase wrote.", metavar="FILE")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="The node that wrote it, to check it against its store.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check an erasure certificate: its signature, and with --folder that the patient is gone and nothing came back."""
    from ...privacy.identity import fingerprint
    from ..keys import open_node_key
    from ..network.settings import NetworkSettings
    from ..operations.certificate import read_certificate, require_holds
    from ..store import Store

    found = read_certificate(certificate)
    words = " ".join(fingerprint(found.key))
    if folder is not None:
        if NetworkSettings(folder, open_node_key(folder / "store")).identity().public != found.key:
            raise NodeError(
                "the certificate is another site's", where=str(certificate), fix="leave --folder out, or name its node"
            )
        with Store.open(folder / "store") as store:
            require_holds(found, store)
    said = found.erasure
    if as_json:
        plain = asdict(said) | {"chain_hash": said.chain_hash.hex(), "ledger_hash": said.ledger_hash.hex()}
        typer.echo(json.dumps(plain | {"words": words, "checked_store": folder is not None}, indent=1))
        return
    typer.echo(f"{said.site} states that it erased patient {said.patient} at {said.at}: {said.images} images.")
    typer.echo(f"The signature is of the site with these six words; compare them with the site's own:\n\n    {words}")
    if folder is not None:
        typer.echo("\nThe patient is not in the store, and its event chain passes through the erasure.")


def find(store: Store, patient: str, issuer: str | None) -> str:
    """The store's id of a patient given by that id or by the hospital's identifier. NodeError when there is none, or
    several issuers have given the identifier to different patients."""
    if issuer is not None:
        found = {one for one in [store.find_patient(issuer, patient)] if one is not None}
    else:
        known = [row.id for row in store.patients()]
        by_name = {
            one: name for one in known for name, identifier in store.identities(one) if identifier == patient.strip()
        }
        found = {patient} if patient in known else set(by_name)
        if len(found) > 1:
            raise NodeError(
                "several patients have this identifier",
                where=patient,
                fix=f"say which with --issuer: {', '.join(repr(name) for name in sorted(by_name.values()))}",
            )
    if not found:
        raise NodeError("this node has no such patient", where=patient, fix="check the identifier and its issuer")
    return found.pop()


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as fault:
        raise typer.BadParameter(f"{text!r} is not a day; write it as 2026-05-01") from fault
