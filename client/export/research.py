"""Results for researchers, as CSV and as COCO JSON: pseudonymous, without names, identifiers, dates or file names.

Patients, images and readers stand under the store's random ids or under numbers; who has the node's key can find them
again, nobody else. The images themselves are not part of it.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...task import Finding
from ..annotations import Box
from ..keys import sync_folder
from ..store import InstanceRow
from .errors import ExportError, ExportRequestError
from .naming import NOTICE
from .results import Device, Result
from .to_folder import require_folder

Format = Literal["csv", "coco"]

_IMAGE = ("patient", "image", "frame", "modality", "body_part", "view", "laterality", "rows", "columns", "held_out")
_FINDING = ("finding", "scheme", "code", "meaning", "side")
_FINDINGS: tuple[str, ...] = (*_IMAGE, *_FINDING, "state", "probability", "observer", "release", "accepted")
_PLACE = ("shape", "origin", "x0", "y0", "x1", "y1", "pixels")
_REGIONS: tuple[str, ...] = (*_IMAGE, *_FINDING, *_PLACE, "observer", "release")


class _Observers:
    """Readers under numbers, in the order in which they are met; models under their own name."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, result: Result) -> tuple[str, str]:
        """(who, the release that spoke or was shown)."""
        shown = "" if result.shown is None else result.shown.release
        if isinstance(result.observer, Device):
            return "model", result.observer.release
        return f"reader {self._numbers.setdefault(result.observer.name, len(self._numbers) + 1)}", shown


def _image(row: InstanceRow, frame: int) -> list[str]:
    held_out = "yes" if row.held_out else "no"
    sizes = [str(row.rows), str(row.columns), held_out]
    return [row.patient, row.id, str(frame), row.modality, row.body_part, row.view, row.laterality, *sizes]


def _named(finding: Finding) -> list[str]:
    return [finding.key, finding.scheme, finding.code, finding.meaning, finding.laterality]


def findings_rows(results: Iterable[Result]) -> list[list[str]]:
    """One row for each finding of each frame, below a header; a probability in full precision, or empty.

    side: the patient's, "L" or "R", that the finding is of; laterality: the image's own. accepted: by what the model's
    word was accepted unseen.
    """
    observers = _Observers()
    rows = [list(_FINDINGS)]
    for result in results:
        who, release = observers.of(result)
        for said in result.said:
            chance = "" if said.probability is None else repr(said.probability)
            said_of = [said.state, chance, who, release, said.accepted]
            rows.append([*_image(result.instance, result.frame), *_named(said.finding), *said_of])
    return rows


def regions_rows(results: Iterable[Result]) -> list[list[str]]:
    """One row for each region, below a header: its bounding box in stored pixels, and how many pixels it covers."""
    observers = _Observers()
    rows = [list(_REGIONS)]
    for result in results:
        who, release = observers.of(result)
        for place in result.places:
            shape = place.region.shape
            pixels = (
                shape.mask(result.instance.rows, result.instance.columns) if isinstance(shape, Box) else shape.array()
            )
            box = (shape.x0, shape.y0, shape.x1, shape.y1) if isinstance(shape, Box) else _bounds(pixels)
            kind = "box" if isinstance(shape, Box) else "mask"
            where = [repr(float(value)) for value in box]
            rows.append(
                [
                    *_image(result.instance, result.frame),
                    *_named(place.finding),
                    kind,
                    place.region.origin,
                    *where,
                    str(int(pixels.sum())),
                    who,
                    release,
                ]
            )
    return rows


def coco(results: Sequence[Result]) -> dict[str, Any]:
    """Regions as a COCO detection set, and each image's findings beside them.

    Boxes are [x, y, width, height] in stored pixels; masks uncompressed run lengths, column by column, beginning with
    zeros, as COCO's `iscrowd` annotations have them. `file_name` is the name that whoever hands the pixels over must
    give them; a frame beyond the first is told apart by `frame`.
    """
    observers = _Observers()
    categories: dict[tuple[str, str, str, str], int] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, result in enumerate(results, 1):
        who, release = observers.of(result)
        row = result.instance
        for finding in [said.finding for said in result.said] + [place.finding for place in result.places]:
            categories.setdefault(_category(finding), len(categories) + 1)
        images.append(
            {
                "id": number,
                "file_name": f"{row.id}.png" if row.frames == 1 else f"{row.id}-{result.frame}.png",
                "width": row.columns,
                "height": row.rows,
                "frame": result.frame,
                "patient": row.patient,
                "modality": row.modality,
                "body_part": row.body_part,
                "view": row.view,
                "laterality": row.laterality,
                "held_out": row.held_out,
                "observer": who,
                "release": release,
                "findings": [
                    {
                        "category_id": categories[_category(said.finding)],
                        "state": said.state,
                        "probability": said.probability,
                        "accepted": said.accepted,
                    }
                    for said in result.said
                ],
            }
        )
        for place in result.places:
            shape = place.region.shape
            annotation: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": categories[_category(place.finding)],
                "origin": place.region.origin,
            }
            if isinstance(shape, Box):
                width, height = shape.x1 - shape.x0, shape.y1 - shape.y0
                annotation |= {"bbox": [shape.x0, shape.y0, width, height], "area": width * height, "iscrowd": 0}
                annotation["segmentation"] = [
                    [shape.x0, shape.y0, shape.x1, shape.y0, shape.x1, shape.y1, shape.x0, shape.y1]
                ]
            else:
                pixels = shape.array()
                x0, y0, x1, y1 = _bounds(pixels)
                annotation |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(pixels.sum()), "iscrowd": 1}
                annotation["segmentation"] = {"size": [shape.rows, shape.columns], "counts": run_lengths(pixels)}
            annotations.append(annotation)
    return {
        "info": {"description": f"medquorum results, pseudonymous. {NOTICE}", "version": "1"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": "finding", "scheme": scheme, "code": code, "side": side}
            for (scheme, code, name, side), number in categories.items()
        ],
    }


def _category(finding: Finding) -> tuple[str, str, str, str]:
    return finding.scheme, finding.code, finding.name, finding.laterality


def run_lengths(pixels: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of a (rows, columns) mask, column by column, of zeros and ones in turn, beginning with zeros."""
    flat = pixels.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    lengths: list[int] = np.diff(edges).tolist()
    return [0, *lengths] if flat[0] else lengths


def _bounds(pixels: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The corners (x0, y0, x1, y1) around the pixels that are set; zeros where none is."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not rows.size:
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def write_research(
    folder: Path, form: Format, results: Sequence[Result], *, findings: bool, regions: bool
) -> list[Path]:
    """Write the results into `folder` (made when missing), read every file again, and return them.

    CSV gives findings.csv and regions.csv as asked for; COCO one coco.json with both. Raises ExportRequestError where a
    file of that name is there already, ExportError where what is read again is not what was meant.
    """
    wanted: dict[str, str] = {"NOTICE.txt": f"{NOTICE}\nPseudonymous results of a medquorum node.\n"}
    if form == "csv" and findings:
        wanted["findings.csv"] = _csv(findings_rows(results))
    if form == "csv" and regions:
        wanted["regions.csv"] = _csv(regions_rows(results))
    if form == "coco":
        shown = [result if regions else _without_places(result) for result in results]
        wanted["coco.json"] = json.dumps(coco(shown), allow_nan=False)
    require_folder(folder)
    taken = [name for name in wanted if (folder / name).exists()]
    if taken:
        raise ExportRequestError(f"{taken[0]} is there already", where=str(folder), fix="name an empty folder")
    return [_write(folder / name, text) for name, text in wanted.items()]


def _without_places(result: Result) -> Result:
    return replace(result, places=())


def _csv(rows: Iterable[Sequence[str]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    for row in rows:
        writer.writerow([_harmless(cell) for cell in row])
    return target.getvalue()


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula; meanings come from consortium plans, which others write."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell


def _write(path: Path, text: str) -> Path:
    content = text.encode()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)
    if path.read_bytes() != content or not list(_parsed(path)):
        raise ExportError("what was written is not what was meant", where=str(path), fix="check the disk, export again")
    return path


def _parsed(path: Path) -> Iterator[object]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        yield json.loads(text)
    elif path.suffix == ".csv":
        yield from csv.reader(io.StringIO(text), strict=True)
    else:
        yield text
