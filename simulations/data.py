"""The data of a study: each hospital's files, and the truth about them, which no node ever sees."""

from __future__ import annotations

import csv
import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ..client.intake.table import stated_traits
from ..task import Task
from ..toml_table import nearest
from .errors import StudyError
from .look import patient_looks
from .partition import Label, divide_patients
from .phantoms.hospital import write_hospital
from .study import Study
from .terms import ArrayData, LabelRule, PhantomData, TableData

BitMask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of one file. source: its path as the hospital knows it. patient: its identifier there.
    present: for each finding of the task, None where the truth is not known. mask_of: gives the mask
    (rows, columns) of the finding with that index, None where there is none or it is not known. groups: its cells of
    the table's subgroup columns, in their order ("" for an empty one)."""

    source: str
    patient: str
    present: tuple[bool | None, ...]
    mask_of: Callable[[int], BitMask | None]
    groups: tuple[str, ...] = ()

    def asked(self, task: Task, laterality: str) -> Truth:
        """The truth of what the task asks of an image of this Laterality: of one side, nothing about the other."""
        known = zip(task.findings, self.present, strict=True)
        return replace(self, present=tuple(state if one.asked_of(laterality) else None for one, state in known))


@dataclass(frozen=True, slots=True)
class Hospital:
    """One hospital's data. folder: what its node imports. table: a CSV with the columns `file` and `patient` for
    PNG or JPEG files, and `sex` and `age` where the study's has them (characteristics names those it has); None for
    DICOM. truths: of every file whose truth is known, by source."""

    name: str
    folder: Path
    table: Path | None
    truths: dict[str, Truth]
    characteristics: tuple[str, ...] = ()

    def labels(self) -> dict[str, Label]:
        """For each patient and finding, whether any image is known to show it."""
        labels: dict[str, Label] = {}
        for truth in self.truths.values():
            mine = tuple(state is True for state in truth.present)
            before = labels.get(truth.patient, (False,) * len(mine))
            labels[truth.patient] = tuple(a or b for a, b in zip(before, mine, strict=True))
        return labels


def collect(study: Study, data: Path | None, out: Path, advance: Callable[[int], None]) -> tuple[Hospital, ...]:
    """Every hospital's data, generated (phantoms, under `out`) or divided among hospitals (a table).

    `advance` is told how many images are ready. StudyError on a table or folder that cannot be used.
    """
    if isinstance(study.data, PhantomData):
        return _phantoms(study, study.data, out, advance)
    if isinstance(study.data, ArrayData):
        raise StudyError(
            "this study's images are arrays without patients' files, for checks against published figures",
            where=str(study.file),
            fix="medquorum simulate published, with the same study and --data",
        )
    if data is None:
        raise StudyError(
            "this study reads a folder of images and none is given", where=str(study.file), fix="add --data DIR"
        )
    rows = _read_table(study, study.data, data)
    _require_files(study, study.data, data, rows)
    hospitals = _divide(study, study.data, data, rows, out)
    advance(sum(len(hospital.truths) for hospital in hospitals))
    return hospitals


def _phantoms(study: Study, data: PhantomData, out: Path, advance: Callable[[int], None]) -> tuple[Hospital, ...]:
    hospitals: list[Hospital] = []
    written = 0
    for number, hospital in enumerate(data.hospitals):
        folder = out / hospital.name
        images = write_hospital(folder, hospital, number, study.seed, lambda n, before=written: advance(before + n))
        written += len(images)
        truths: dict[str, Truth] = {}
        for image in images:
            masks = [None if mask is None else (mask.shape, np.packbits(mask)) for _, mask in image.masks]

            def mask_of(
                finding: int, masks: list[tuple[tuple[int, ...], NDArray[np.uint8]] | None] = masks
            ) -> BitMask | None:
                packed = masks[finding]
                if packed is None:
                    return None
                shape, bits = packed
                return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(np.bool_)

            present = tuple(state for _, state in image.present)
            truths[image.source] = Truth(image.source, image.patient, present, mask_of)
        hospitals.append(Hospital(hospital.name, folder, None, truths))
    return tuple(hospitals)


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    file: str
    patient: str
    site: str
    mask: str
    present: tuple[bool | None, ...]
    groups: tuple[str, ...]
    characteristics: tuple[str, ...]


def state_of(cell: str, rule: LabelRule) -> bool | None:
    """What a cell says by its rule: present, absent, or None (empty: not assessed); KeyError for any other value."""
    if not cell.strip():
        return None
    values = [part.strip() for part in cell.split(rule.separator)] if rule.separator else [cell.strip()]
    for value in values:
        if value not in rule.present and value not in rule.absent and "*" not in rule.absent:
            raise KeyError(value)
    return any(value in rule.present for value in values)


def _read_table(study: Study, data: TableData, folder: Path) -> list[_Row]:
    path = folder / data.csv
    columns = {"file": data.file, "patient": data.patient, "site": data.site, "mask": data.mask}
    columns |= {"sex": data.sex, "age": data.age}
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            header = list(reader.fieldnames or [])
            named = [*columns.items(), *(("subgroups", column) for column in data.subgroups)]
            for key, column in named:
                if column and column not in header:
                    raise StudyError(
                        f"there is no column {column!r}, which data.columns.{key} names",
                        where=str(path),
                        fix=nearest(column, header),
                    )
            for finding, rule in zip(study.task.findings, data.rules, strict=True):
                if rule.column not in header:
                    raise StudyError(
                        f"there is no column {rule.column!r}, which finding {finding.key!r} names",
                        where=str(path),
                        fix=nearest(rule.column, header),
                    )
            rows = [_row(study, data, path, number, cells) for number, cells in enumerate(reader, start=2)]
    except FileNotFoundError:
        raise StudyError(
            "there is no such table", where=str(path), fix="check --data and the study's data.csv"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"cannot be read as a table: {error}", where=str(path), fix="give a UTF-8 CSV file") from None
    if not rows:
        raise StudyError("the table has no rows", where=str(path), fix="list at least one image")
    seen: dict[str, int] = {}
    for row in rows:
        if row.file in seen:
            raise StudyError(
                f"row {row.number} names {row.file!r}, as row {seen[row.file]} does",
                where=str(path),
                fix="list each file once",
            )
        seen[row.file] = row.number
    return rows


def _row(study: Study, data: TableData, path: Path, number: int, cells: dict[str, str | None]) -> _Row:
    def cell(column: str) -> str:
        return (cells.get(column) or "").strip() if column else ""

    present: list[bool | None] = []
    for finding, rule in zip(study.task.findings, data.rules, strict=True):
        try:
            present.append(state_of(cell(rule.column), rule))
        except KeyError as unknown:
            raise StudyError(
                f"row {number}, column {rule.column!r}: {unknown.args[0]!r} is outside the labels of {finding.key!r}",
                where=str(path),
                fix=f"add it to present or absent of that finding in {study.file.name}, or correct the cell",
            ) from None
    for key, column in (("file", data.file), ("patient", data.patient), ("site", data.site)):
        if column and not cell(column):
            raise StudyError(
                f"row {number} has no {key}", where=str(path), fix=f"fill the column {column!r} or remove the row"
            )
    stated_traits(cell(data.sex), cell(data.age), f"{path}, row {number}")
    return _Row(
        number=number,
        file=cell(data.file),
        patient=cell(data.patient),
        site=cell(data.site),
        mask=cell(data.mask),
        present=tuple(present),
        groups=tuple(cell(column) for column in data.subgroups),
        characteristics=tuple(cell(column) for column in (data.sex, data.age) if column),
    )


def _require_files(study: Study, data: TableData, folder: Path, rows: list[_Row]) -> None:
    """Every file that the table names is inside the folder and there; images of a table have an image's name."""
    for row in rows:
        fault, fix = "", "correct the path, relative to --data"
        parts = PurePosixPath(row.file).parts
        if PurePosixPath(row.file).is_absolute() or ".." in parts:
            fault = f"row {row.number}, column {data.file!r}: {row.file!r} leaves the folder"
        elif not (folder / row.file).is_file():
            fault = f"row {row.number}, column {data.file!r}: there is no file {row.file!r}"
        elif data.kind == "table" and Path(row.file).suffix.lower() not in (".png", ".jpg", ".jpeg"):
            fault = f"row {row.number}, column {data.file!r}: {row.file!r} is neither PNG nor JPEG"
            fix = f'list images only, or set data.kind = "dicom" in {study.file.name}'
        if fault:
            raise StudyError(fault, where=str(folder / data.csv), fix=fix)


def _divide(study: Study, data: TableData, folder: Path, rows: list[_Row], out: Path) -> tuple[Hospital, ...]:
    site_of: dict[str, str]
    if study.sites.partition == "column":
        known = sorted({row.site for row in rows})
        for name in study.sites.names:
            if name not in known:
                raise StudyError(
                    f"no row is of site {name!r}", where=f"{study.file}, sites.names", fix=nearest(name, known)
                )
        names = study.sites.names or tuple(known)
        first: dict[str, _Row] = {}
        for row in rows:
            earlier = first.setdefault(row.patient, row)
            if earlier.site != row.site:
                raise StudyError(
                    f"the patient of row {row.number} is at {row.site!r}, and in row {earlier.number} at "
                    f"{earlier.site!r}",
                    where=str(folder / data.csv),
                    fix="a patient at two sites would break the guarantee; give each patient one site",
                )
        rows = [row for row in rows if row.site in names]
        site_of = {row.patient: row.site for row in rows}
    else:
        names = study.sites.names
        labels: dict[str, Label] = {}
        for row in rows:
            before = labels.get(row.patient, (False,) * len(row.present))
            labels[row.patient] = tuple(a or b is True for a, b in zip(before, row.present, strict=True))
        looks: dict[str, float] | None = None
        if study.sites.partition == "look":
            looks = patient_looks(((row.patient, folder / row.file) for row in rows), study.sites.look)
        site_of = divide_patients(labels, study.sites, study.seed, looks)
    by_site: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        by_site[site_of[row.patient]].append(row)
    return tuple(_hospital(name, data, folder, by_site[name], out) for name in names)


def _hospital(name: str, data: TableData, folder: Path, rows: list[_Row], out: Path) -> Hospital:
    truths = {
        row.file: Truth(row.file, row.patient, row.present, _mask_reader(folder, row.mask), row.groups) for row in rows
    }
    own = out / name
    own.mkdir(parents=True, exist_ok=True)
    if data.kind == "dicom":
        for row in rows:
            target = own / row.file
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(folder / row.file, target)
            except OSError:  # another file system
                shutil.copyfile(folder / row.file, target)
        return Hospital(name, own, None, truths)
    table = own / "files.csv"
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        given = tuple(key for key, column in (("sex", data.sex), ("age", data.age)) if column)
        writer.writerow(["file", "patient", *given])
        writer.writerows([row.file, row.patient, *row.characteristics] for row in rows)
    return Hospital(name, folder, table, truths, given)


def _mask_reader(folder: Path, mask: str) -> Callable[[int], BitMask | None]:
    def read(finding: int) -> BitMask | None:
        if not mask:
            return None
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(folder / mask) as image:
                return np.asarray(image.convert("L")) > 0
        except (OSError, UnidentifiedImageError):
            raise StudyError(
                "the mask cannot be read as an image", where=str(folder / mask), fix="correct the file or the table"
            ) from None

    return read
