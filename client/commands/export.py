"""`medquorum node export`: results to the PACS, to a folder, or to researchers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..network.commands import AsJson, Folder, node

if TYPE_CHECKING:
    from ..export.destination import Destination
    from ..export.exporting import ExportReport
    from ..export.objects import What
    from ..store import Store

As = Literal["dicom", "csv", "coco"]


@node.command()
def export(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="A folder to write to.")] = None,
    to: Annotated[str, typer.Option(help="A PACS to send to, as pacs.toml in the node's folder calls it.")] = "",
    what: Annotated[str, typer.Option(help="Any of findings, regions, heatmaps, with commas.")] = "findings,regions",
    form: Annotated[
        As,
        typer.Option("--format", help="dicom: under the original patient; csv, coco: pseudonymous, for researchers."),
    ] = "dicom",
    image: Annotated[list[str] | None, typer.Option(help="Only this image (the store's id); may be repeated.")] = None,
    sign: Annotated[
        str, typer.Option(metavar="NAME/ORGANISATION", help="Who is accountable for the readers' reports (VERIFIED).")
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Send what the PACS is known to have as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Export readings and proposals: to the PACS they came from, to a folder, or as tables for researchers.

    What the model alone says is PRELIMINARY, what a reader says is FINAL, and VERIFIED only with --sign. Research use
    only: not a medical device, a human decides.
    """
    from ..export.errors import ExportRequestError
    from ..store import Store

    if (out is None) == (not to):
        raise ExportRequestError("give one place: --out FOLDER or --to PACS", where="medquorum node export")
    kinds = _kinds(what)
    signed = _signed(sign)
    with Store.open(folder / "store") as store:
        instances = _images(store, image or [])
        if form != "dicom":
            if out is None:
                raise ExportRequestError(f"{form} goes to a folder", where="--to", fix="give --out FOLDER")
            if sign or again or "heatmaps" in kinds:
                raise ExportRequestError(
                    f"--sign, --again and heatmaps are not for {form}", where="--format", fix="leave them out"
                )
            _research(store, folder, out, form, kinds, instances, as_json)
            return
        report = _dicom(store, folder, out, to, kinds, signed, again, instances)
    if as_json:
        typer.echo(json.dumps(_plain(report)))
    else:
        for line in _lines(report):
            typer.echo(line)
    if not report.complete:
        raise typer.Exit(1)


def _kinds(text: str) -> tuple[What, ...]:
    from ..export.errors import ExportRequestError
    from ..export.objects import KINDS

    asked = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [part for part in asked if part not in KINDS]
    if unknown or not asked:
        raise ExportRequestError(
            f"{unknown[0]!r} cannot be exported" if unknown else "nothing is asked for",
            where="--what",
            fix=f"choose among {', '.join(KINDS)}",
        )
    return tuple(kind for kind in KINDS if kind in asked)


def _signed(text: str) -> tuple[str, str] | None:
    from ..export.errors import ExportRequestError

    if not text:
        return None
    name, _, organisation = (part.strip() for part in text.partition("/"))
    if not name or not organisation or max(len(name), len(organisation)) > 64 or not text.isprintable():
        raise ExportRequestError(
            f"{text!r} is no signature", where="--sign", fix='write "Ada Lovelace/St. Anna", at most 64 characters each'
        )
    return name, organisation


def _images(store: Store, asked: list[str]) -> frozenset[str] | None:
    for identifier in asked:
        store.instance(identifier)  # StoreError names the one that is unknown
    return frozenset(asked) if asked else None


def _dicom(
    store: Store,
    folder: Path,
    out: Path | None,
    to: str,
    kinds: tuple[What, ...],
    signed: tuple[str, str] | None,
    again: bool,
    instances: frozenset[str] | None,
) -> ExportReport:
    from ... import __version__
    from ..export.exporting import Exporter, Request
    from ..export.journal import Journal
    from ..export.naming import derived_uid
    from ..export.objects import Workshop
    from ..releases import Releases

    workshop = Workshop(derived_uid("node", store.setting("store")), store.setting("site"), __version__)
    destination = _destination(folder, out, to)
    journal = Journal(folder / "exports.sqlite")
    try:
        exporter = Exporter(store, Releases(folder / "releases"), journal, workshop)
        return exporter.run(Request(kinds, signed, again, instances), destination)
    finally:
        journal.close()
        destination.close()


def _destination(folder: Path, out: Path | None, to: str) -> Destination:
    if out is not None:
        from ..export.to_folder import FolderDestination

        return FolderDestination(out)
    from ..export.pacs import find_pacs

    pacs = find_pacs(folder, to)
    if pacs.web:
        from ..export.to_web import WebDestination

        return WebDestination(pacs)
    from ..export.to_pacs import StoreDestination

    return StoreDestination(pacs)


def _research(
    store: Store,
    folder: Path,
    out: Path,
    form: Literal["csv", "coco"],
    kinds: tuple[What, ...],
    instances: frozenset[str] | None,
    as_json: bool,
) -> None:
    from ..audit_log import this_user
    from ..export.research import write_research
    from ..export.results import Models, gather
    from ..releases import Releases

    said = gather(store, Models(Releases(folder / "releases")), store.instances(ids=instances))
    results = [result for some in said.results.values() for result in some]
    written = write_research(out, form, results, findings="findings" in kinds, regions="regions" in kinds)
    store.trail.append("export", this_user(), what=form, kinds=" ".join(kinds), frames=len(results))
    if as_json:
        typer.echo(json.dumps({"format": form, "frames": len(results), "files": [str(path) for path in written]}))
    else:
        typer.echo(f"{len(results)} frames in {', '.join(path.name for path in written)}, read again; in {out}")


def _plain(report: ExportReport) -> dict[str, Any]:
    plain: dict[str, Any] = asdict(report)
    plain |= {name: dict(plain[name]) for name in ("saved", "proofs", "silent")}
    return plain | {"complete": report.complete}


def _lines(report: ExportReport) -> list[str]:
    saved = ", ".join(f"{count} {kind}" for kind, count in report.saved) or "nothing"
    proofs = ", ".join(f"{count} {proof}" for proof, count in report.proofs)
    lines = [f"Saved in {report.destination}: {saved}{f' ({proofs})' if proofs else ''}."]
    if report.already:
        lines.append(f"{report.already} were there already and were not sent again (--again sends them).")
    if report.signed:
        lines.append(f"{report.signed} reports are VERIFIED under the signature given.")
    lines += [f"Nothing to say of {count} frames: {reason}." for reason, count in report.silent]
    reasons: dict[str, list[str]] = {}
    for one in report.refused:
        reasons.setdefault(one.reason, []).append(one.instance)
    lines += [
        f"NOT saved, {len(images)} objects (image {images[0]}{' and others' if len(images) > 1 else ''}): {reason}"
        for reason, images in reasons.items()
    ]
    if report.stopped:
        lines.append(f"Stopped: {report.stopped}")
    return lines
