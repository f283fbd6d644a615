"""`medquorum node import | receive | watch | pull | quarantine`: how images come into a hospital's node.

Only one process may have the store open. Whoever finds it open elsewhere (usually in `medquorum node run`) puts files
into the spool, from which that process takes them.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..network.commands import AsJson, Folder, node
from ..service_log import log_to_standard_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..intake.files import Source
    from ..intake.report import IntakeReport
    from ..spool import Spool

quarantine = typer.Typer(help="Files that were not taken in, and why.", no_args_is_help=True)
node.add_typer(quarantine, name="quarantine")

Item = Annotated[str, typer.Argument(help="The item's number, as `quarantine list` shows it, or its first digits.")]


@node.command("import")
def import_path(
    path: Annotated[Path, typer.Argument(help="A folder, a DICOMDIR, a ZIP file, or one DICOM file.")],
    folder: Folder,
    as_json: AsJson = False,
) -> None:
    """Take in DICOM files. Every file ends stored, known already, or in quarantine with a reason."""
    from ..errors import StoreBusyError
    from ..intake.folder import import_sources
    from ..intake.offered import offered
    from ..intake.opening import open_gate
    from ..intake.settings import IntakeSettings
    from ..spool import spool_of
    from ..store import Store

    settings = IntakeSettings.of(folder)
    with open_gate(settings) as gate, offered(path, gate) as sources:
        _tell(f"{len(sources)} files in {path}.")
        try:
            with Store.open(folder / "store") as store:
                report = import_sources(store, sources, gate, _progress)
        except StoreBusyError as busy:
            _spool(spool_of(folder, settings.free_megabytes << 20), sources, busy.what, as_json)
            return
    _report(report, as_json)


def _spool(spool: Spool, sources: Sequence[Source], why: str, as_json: bool) -> None:
    """Leave the files to the process that has the store open."""
    from ..pixels import UnreadableError

    waiting, unread = 0, list[dict[str, str]]()
    for number, source in enumerate(sources, 1):
        try:
            spool.put(source.name, source.read())
            waiting += 1
        except UnreadableError as fault:
            unread.append({"source": source.name, "code": fault.code, "reason": fault.what})
        _progress(number, len(sources))
    if as_json:
        typer.echo(json.dumps({"spooled": waiting, "unread": unread}, indent=1))
        return
    typer.echo(f"{why}: {waiting} files wait in the spool, and that process takes them in.")
    for item in unread:
        typer.echo(f"  not read: {item['source']}: {item['reason']}")


@node.command()
def watch(folder: Folder) -> None:
    """Take files from the folder that intake.toml names, until stopped by a signal."""
    from ..errors import IntakeError
    from ..intake.drain import Draining
    from ..intake.opening import open_gate
    from ..intake.settings import IntakeSettings
    from ..intake.watched import Watched
    from ..spool import spool_of
    from ..store import Store

    log_to_standard_error()
    settings = IntakeSettings.of(folder)
    if not settings.watched:
        raise IntakeError("no folder is watched", where=str(folder / "intake.toml"), fix='set watched = "/some/folder"')
    spool = spool_of(folder, settings.free_megabytes << 20)
    watched = Watched(Path(settings.watched), spool, settings.quiet_seconds, settings.after)
    ended = _ended()
    with open_gate(settings) as gate, Draining(lambda: Store.open(folder / "store"), spool, gate):
        _tell(f"Watching {settings.watched}.")
        watched.run(ended)


@node.command("pull")
def pull_studies(
    folder: Folder,
    patient: Annotated[str, typer.Option(help="The patient's identifier in the PACS.")] = "",
    study: Annotated[str, typer.Option(help="A study instance UID.")] = "",
    date: Annotated[str, typer.Option(help="A day or days: 20240131, or 20240101-20240131.")] = "",
    modality: Annotated[str, typer.Option(help="Only studies with this modality, such as DX.")] = "",
    as_json: AsJson = False,
) -> None:
    """Ask the PACS that intake.toml names for studies (DICOMweb), and take their images in."""
    from ..errors import StoreBusyError
    from ..intake.drain import drain
    from ..intake.opening import open_gate
    from ..intake.pull import Wanted, pull
    from ..intake.settings import IntakeSettings
    from ..spool import spool_of
    from ..store import Store

    settings = IntakeSettings.of(folder)
    spool = spool_of(folder, settings.free_megabytes << 20)
    pulled = pull(settings, Wanted(patient, study, date, modality.upper()), spool)
    _tell(f"{pulled.studies} studies, {pulled.instances} images; {pulled.others} other objects were left there.")
    try:
        with open_gate(settings) as gate, Store.open(folder / "store") as store:
            report = drain(store, spool, gate)
    except StoreBusyError as busy:
        if as_json:
            typer.echo(json.dumps({"spooled": pulled.instances, "unread": []}, indent=1))
        else:
            typer.echo(f"{busy.what}: {pulled.instances} files wait in the spool, and that process takes them in.")
        return
    _report(report, as_json)


@node.command()
def receive(folder: Folder) -> None:
    """Listen for DICOM (C-STORE, C-ECHO) from the peers in intake.toml, until stopped by a signal."""
    from ..audit_log import AuditLog
    from ..intake.drain import Draining
    from ..intake.opening import open_gate
    from ..intake.receiver import Receiver
    from ..intake.settings import IntakeSettings
    from ..keys import open_node_key
    from ..spool import spool_of
    from ..store import Store

    log_to_standard_error()
    settings = IntakeSettings.of(folder)
    spool = spool_of(folder, settings.free_megabytes << 20)
    ended = _ended()
    with (
        open_gate(settings) as gate,
        Draining(lambda: Store.open(folder / "store"), spool, gate),
        Receiver(spool, settings, AuditLog(folder / "store", open_node_key(folder / "store"))) as receiver,
    ):
        _tell(f"{settings.ae_title} listens on {settings.listen} port {receiver.port}.")
        ended.wait()


@quarantine.command("list")
def list_quarantined(folder: Folder, as_json: AsJson = False) -> None:
    """List what was not taken in, oldest first."""
    from ..store import Store

    with Store.open(folder / "store") as store:
        rows = store.quarantined()
        mixed = store.shared_studies()
    if as_json:
        items = [
            {
                "id": row.id,
                "source": row.source,
                "code": row.code,
                "reason": row.reason,
                "bytes": row.size,
                "at": row.at.isoformat(),
            }
            for row in rows
        ]
        typer.echo(json.dumps({"quarantined": items, "mixed_studies": mixed}, indent=1))
        return
    for row in rows:
        typer.echo(f"{row.id[:12]}  {row.code:20} {row.source}: {row.reason}")
    typer.echo(f"{len(rows)} files in quarantine.")
    if mixed:
        typer.echo(
            f"{mixed} studies were stored under more than one patient: either files of two patients are mixed there, "
            "or one patient's identifier was changed. Compare with the PACS; two patients who are one can be merged."
        )


@quarantine.command("show")
def show_quarantined(item: Item, folder: Folder) -> None:
    """Say everything that is known of one item, and what to do about it."""
    from ..intake.quarantined import advice, chosen
    from ..store import Store

    with Store.open(folder / "store") as store:
        row = chosen(store, item)
    kept = "not kept: its original is still where it came from" if row.size is None else f"{row.size} bytes"
    for name, value in (
        ("item", row.id),
        ("from", row.source),
        ("since", row.at.isoformat(timespec="seconds")),
        ("file", kept),
        ("code", row.code),
        ("reason", row.reason),
        ("what to do", advice(row.code)),
    ):
        typer.echo(f"{name:11} {value}")


@quarantine.command("release")
def release_quarantined(item: Item, folder: Folder) -> None:
    """Send one item through the gate again; it leaves the quarantine only if it is taken in."""
    from ..intake.opening import open_gate
    from ..intake.quarantined import chosen, release
    from ..intake.settings import IntakeSettings
    from ..store import Store

    with open_gate(IntakeSettings.of(folder)) as gate, Store.open(folder / "store") as store:
        stored = release(store, gate, chosen(store, item).id)
    typer.echo("Taken in." if stored.new else "It was stored already; the item is gone.")


@quarantine.command("delete")
def delete_quarantined(item: Item, folder: Folder) -> None:
    """Destroy one item: its key and its bytes. The log keeps that it was there, and why."""
    from ..intake.quarantined import chosen
    from ..store import Store

    with Store.open(folder / "store") as store:
        store.delete_quarantined(chosen(store, item).id)
    typer.echo("Deleted.")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\r{done} of {total}" + ("\n" if done == total else ""), nl=False, err=True)


def _ended() -> threading.Event:
    """Set when this process is asked to stop."""
    ended = threading.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: ended.set())
    return ended


def _tell(line: str) -> None:
    """Progress, for people: on standard error, so that standard output stays for results."""
    typer.echo(line, err=True)


def _report(report: IntakeReport, as_json: bool) -> None:
    if as_json:
        plain = {
            "imported": report.imported,
            "duplicates": report.duplicates,
            "patients": report.patients,
            "suspected_text_masked": report.masked,
            "quarantined": [{"source": q.source, "code": q.code, "reason": q.reason} for q in report.quarantined],
        }
        typer.echo(json.dumps(plain, indent=1))
        return
    typer.echo(
        f"{report.imported} new images, {report.duplicates} known already, {report.patients} patients, "
        f"{len(report.quarantined)} files in quarantine."
    )
    if report.masked:
        typer.echo(f"Text was suspected in the pixels of {report.masked} new images, and blackened; look at them.")
    for code, count in report.by_code().items():
        typer.echo(f"  {count:6} {code}")
    if report.quarantined:
        typer.echo("See why: medquorum node quarantine list")
