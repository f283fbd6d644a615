"""Import a folder of PNG and JPEG files described by a CSV, its columns mapped by name: what researchers hold."""

from __future__ import annotations

import csv
import hashlib
import re
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path, PurePosixPath

from ...privacy.subgroups import Traits, band, stated
from ..annotations import Annotation, State, new_id, utc_now
from ..errors import IntakeError
from ..ordered import in_order
from ..pixels import DEFAULT_LIMITS, Limits, UnreadableError, raster_encoding, render
from ..pixels.preview import preview_bytes
from ..store import NewInstance, Store
from .batches import Account, Read, attempt, workers
from .files import existing_folder, read_inside
from .report import IntakeReport, Progress

_SEXES = {"": "", "f": "F", "female": "F", "m": "M", "male": "M", "o": "O", "other": "O"}
_AGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]*)?)([DWMY]?)")
_IN_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}
READER = "imported"  # the reader under whom a table's labels stand


@dataclass(frozen=True, slots=True)
class Column:
    """A value that differs by row: the name of the column that holds it."""

    name: str


@dataclass(frozen=True, slots=True)
class Labels:
    """How one column states one finding: which cell values mean present, absent, uncertain.

    A `separator` splits a cell that lists several values ("Effusion|Nodule"): the finding is present when any of them
    means present, else uncertain when any means that, else absent. "*" in `absent` stands for every other value. An
    empty cell means not assessed.
    """

    finding: str
    column: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    uncertain: tuple[str, ...] = ()
    separator: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV (UTF-8, one header line) and what its columns mean.

    `file` and `patient` name columns; a file is a path relative to the imported folder. The others are a `Column`,
    or text that holds for every row. `study` groups a patient's images; empty puts them all into one study. `sex` is
    F, M, O, female, male or other, `age` in years, or as DICOM writes it (061Y, 008M), when the image was made; an
    empty cell means not known. Only gates on subgroups use them, and no finer age than a band's is kept.
    """

    csv: Path
    file: str = "file"
    patient: str = "patient"
    modality: Column | str = "DX"
    body_part: Column | str = ""
    view: Column | str = ""
    laterality: Column | str = ""
    study: Column | str = ""
    labels: tuple[Labels, ...] = ()
    sex: Column | str = ""
    age: Column | str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    source: str
    patient: str
    study: str
    modality: str
    body_part: str
    view: str
    laterality: str
    states: tuple[tuple[str, State], ...]
    traits: Traits


def import_table(
    store: Store, folder: Path, table: Table, progress: Progress | None = None, limits: Limits = DEFAULT_LIMITS
) -> IntakeReport:
    """Import every image that the table lists, in its order; files it does not list are left alone.

    The whole table is checked first, so that a mistake in it imports nothing: IntakeError names the file, the row,
    the column and the fix for a missing column, an empty or escaping path, an absent file, a file listed twice, a
    file that is neither PNG nor JPEG, a sex or age that is none, and a label that the mapping does not know. Images
    that do not decode go to quarantine and are counted. Study, series and instance UIDs are derived from the patient
    and the content (2.25 form, PS3.5 B.2), so that importing again finds duplicates. Labels of images that nobody has
    annotated yet become annotations by the reader "imported", made without effort and with no proposal
    shown.
    """
    root = existing_folder(folder)
    rows = _rows(table)
    for row in rows:
        _check_file(root, row, table)
    account = Account(store, len(rows), progress)
    threads = workers()
    with ThreadPoolExecutor(threads, thread_name_prefix="intake") as pool:
        for read in in_order(pool, partial(_read, root, limits), rows, 4 * threads):
            account.take(read)
    account.flush()
    return account.report(_annotate(store, rows, account))


def _annotate(store: Store, rows: Sequence[_Row], account: Account) -> int:
    """Turn the table's labels into annotations of images that have none; returns how many."""
    if not any(row.states for row in rows):
        return 0
    annotated = store.current_annotations().keys()
    new: dict[str, Annotation] = {}
    for row in rows:
        where = account.instances.get(row.source)
        assessed = any(state != "not_assessed" for _, state in row.states)
        if where is not None and assessed and (where.instance, 0) not in annotated:
            new.setdefault(where.instance, _annotation(where.instance, row.states))
    store.annotate_many(list(new.values()))
    return len(new)


def _annotation(instance: str, states: tuple[tuple[str, State], ...]) -> Annotation:
    return Annotation(
        id=new_id(),
        instance=instance,
        frame=0,
        reader=READER,
        at=utc_now(),
        release=None,
        proposal=None,
        states=states,
        regions=(),
        actions=0,
        seconds=0.0,
        supersedes=None,
    )


def _read(root: Path, limits: Limits, row: _Row) -> Read:
    return attempt(
        row.source,
        lambda: read_inside(root, row.source, limits),
        lambda content: _instance(content, row, limits),
    )


def _instance(content: bytes, row: _Row, limits: Limits) -> tuple[NewInstance, bytes]:
    encoding = raster_encoding(content)
    rendered = render(content, encoding, limits=limits)
    study = _uid("study", row.patient, row.study)
    instance = NewInstance(
        patient_issuer="",
        patient_id=row.patient,
        study_uid=study,
        series_uid=_uid("series", study),
        sop_uid=_uid("instance", row.patient, hashlib.sha256(content).hexdigest()),
        modality=row.modality,
        body_part=row.body_part,
        view=row.view,
        laterality=row.laterality,
        rows=rendered.rows,
        columns=rendered.columns,
        frames=1,
        acquired="",
        source=row.source,
        encoding=encoding,
        content=content,
        traits=row.traits,
    )
    return instance, preview_bytes(rendered.image)


def _uid(*parts: str) -> str:
    """A UID in the 2.25 form from a hash of the parts: the same parts give the same UID on every machine."""
    digest = hashlib.sha256("\0".join(("medquorum", *parts)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def _rows(table: Table) -> list[_Row]:
    """Read and check the table. Raises IntakeError."""
    where = str(table.csv)
    try:
        with table.csv.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, strict=True)
            header = list(reader.fieldnames or ())
            _check_columns(table, header)
            rows = [_row(table, reader.line_num, cells) for cells in reader]
    except FileNotFoundError:
        raise IntakeError("there is no such table", where=where, fix="check the path of the CSV file") from None
    except UnicodeDecodeError as error:
        raise IntakeError(f"it is not UTF-8 text ({error.reason})", where=where, fix="save it as UTF-8") from error
    except csv.Error as error:
        raise IntakeError(f"it is not a CSV file ({error})", where=where, fix="check its quotes") from error
    except OSError as error:
        raise IntakeError(f"it cannot be read ({error.strerror})", where=where, fix="let this user read it") from error
    if not rows:
        raise IntakeError("the table has no rows", where=where, fix="add one row for each image")
    seen: dict[str, int] = {}
    for row in rows:
        before = seen.setdefault(row.source, row.line)
        if before != row.line:
            raise IntakeError(
                f"{table.file} {row.source!r} is listed twice, first in row {before}",
                where=f"{where}, row {row.line}",
                fix="keep one of the two rows",
            )
    return rows


def _check_columns(table: Table, header: Sequence[str]) -> None:
    constants = (table.modality, table.body_part, table.view, table.laterality, table.study, table.sex, table.age)
    wanted = [table.file, table.patient]
    wanted += [value.name for value in constants if isinstance(value, Column)]
    wanted += [labels.column for labels in table.labels]
    for name in wanted:
        if name not in header:
            near = get_close_matches(name, header, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"its columns are {', '.join(header) or 'none'}"
            raise IntakeError(f"there is no column {name!r}", where=str(table.csv), fix=f"map it to a column: {known}")
    repeated = next((name for name in wanted if header.count(name) > 1), None)
    if repeated is not None:
        raise IntakeError(
            f"two columns are called {repeated!r}", where=str(table.csv), fix="give each column its own name"
        )


def _row(table: Table, line: int, cells: dict[str, str | None]) -> _Row:
    where = f"{table.csv}, row {line}"

    def cell(name: str) -> str:
        return (cells.get(name) or "").strip()

    def of(value: Column | str) -> str:
        return cell(value.name) if isinstance(value, Column) else value

    source, patient = cell(table.file), cell(table.patient)
    for name, value in ((table.file, source), (table.patient, patient)):
        if not value:
            raise IntakeError(f"column {name!r} is empty", where=where, fix="fill it in, or remove the row")
    path = PurePosixPath(source.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise IntakeError(
            f"{table.file} {source!r} leads out of the folder",
            where=where,
            fix="give a path relative to the imported folder, without '..'",
        )
    laterality = of(table.laterality).upper()[:1]
    return _Row(
        line=line,
        source=path.as_posix(),
        patient=patient,
        study=of(table.study),
        modality=of(table.modality).upper(),
        body_part=of(table.body_part).upper(),
        view=of(table.view).upper(),
        laterality=laterality if laterality in ("L", "R", "B") else "",
        states=tuple((labels.finding, _state(labels, cell(labels.column), where)) for labels in table.labels),
        traits=stated_traits(of(table.sex), of(table.age), where),
    )


def stated_traits(sex: str, age: str, where: str) -> Traits:
    """What a table's cells say of a patient (see Table); IntakeError, naming `where`, for a sex or age that is none."""
    if sex.lower() not in _SEXES:
        raise IntakeError(f"{sex!r} is no sex", where=where, fix="write F, M or O, or leave it empty")
    found = _AGE.fullmatch(age.upper())
    years = float(found[1]) / _IN_YEAR[found[2]] if found is not None else None
    if age and band(years) is None:
        raise IntakeError(f"{age!r} is no age", where=where, fix="write it in years, or leave it empty")
    return stated(_SEXES[sex.lower()], years)


def _state(labels: Labels, cell: str, where: str) -> State:
    if not cell:
        return "not_assessed"
    values = [part.strip() for part in cell.split(labels.separator)] if labels.separator else [cell]
    known = {*labels.present, *labels.absent, *labels.uncertain}
    for value in values:
        if value not in known and "*" not in labels.absent:
            raise IntakeError(
                f"column {labels.column!r} holds {value!r}, which finding {labels.finding!r} does not know",
                where=where,
                fix=f"correct it, or map it; known are {', '.join(sorted(known))}",
            )
    if any(value in labels.present for value in values):
        return "present"
    return "uncertain" if any(value in labels.uncertain for value in values) else "absent"


def _check_file(root: Path, row: _Row, table: Table) -> None:
    """The named file is there, inside the folder, and begins like an image; its pixels are judged later."""
    where = f"{table.csv}, row {row.line}"
    path = root / row.source
    try:
        resolved = path.resolve(strict=True)
        start = b"" if not resolved.is_file() else _first_bytes(resolved)
    except (OSError, RuntimeError):
        raise IntakeError(
            f"{table.file} {row.source!r} is not in {root}",
            where=where,
            fix="correct the path, or remove the row",
        ) from None
    if not resolved.is_relative_to(root):
        raise IntakeError(
            f"{table.file} {row.source!r} is a link that leads out of the folder", where=where, fix="copy the file in"
        )
    if not resolved.is_file():
        raise IntakeError(f"{table.file} {row.source!r} is not a file", where=where, fix="name an image file")
    if not start:
        return  # an empty file is a damaged image: it goes to quarantine like the others
    try:
        raster_encoding(start)
    except UnreadableError as fault:
        raise IntakeError(
            f"{table.file} {row.source!r} is not an image ({fault.what})",
            where=where,
            fix="convert it to PNG or JPEG (DICOM has its own import), or remove the row",
        ) from None


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(16)
