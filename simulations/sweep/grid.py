"""What a sweep varies: keys of the study file with their values, and a cell for every combination."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from ...toml_table import Table
from ..errors import StudyError
from ..report.fields import Json
from ..resumable.outcomes import Refusal
from ..study import Study, read_study

MOST_CELLS = 10_000
T = TypeVar("T")
_RANGE = re.compile(r"\s*(\d+)\s*\.\.\s*(\d+)\s*")


@dataclass(frozen=True, slots=True)
class Axis:
    """A key of the study, dotted as in "plan.privacy.epsilon", and the values that it takes."""

    key: str
    values: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination: (key, value) in the axes' order."""

    settings: tuple[tuple[str, Json], ...]

    @property
    def identity(self) -> dict[str, Json]:
        """What the cell's file says that it is."""
        return dict(self.settings)

    @property
    def name(self) -> str:
        """The cell's file, without its ending: values may be any text, so it is made of their hash."""
        text = json.dumps(sorted(self.settings), ensure_ascii=True)
        return f"cell-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def label(self) -> str:
        """The cell for people, by the last words of its keys."""
        return ", ".join(f"{key.rpartition('.')[2]} {shown(value)}" for key, value in self.settings)


@dataclass(frozen=True, slots=True)
class Planned:
    """A cell with its study, or why it cannot be one."""

    cell: Cell
    study: Study | Refusal


def shown(value: Json) -> str:
    """A value for people."""
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def read_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of `--set KEY=VALUE,VALUE`: TOML values, bare words for strings, A..B for all whole numbers from A to B.
    StudyError for anything else."""
    axes = tuple(_axis(text) for text in texts)
    for axis in axes:
        if sum(other.key == axis.key for other in axes) > 1:
            raise StudyError(f"{axis.key} is set twice", where="--set", fix="list all its values in one --set")
    cells = 1
    for axis in axes:
        cells *= len(axis.values)
    if cells > MOST_CELLS:
        raise StudyError(f"{cells:,} cells", where="--set", fix=f"sweep at most {MOST_CELLS:,} at once")
    return axes


def _axis(text: str) -> Axis:
    key, joint, given = text.partition("=")
    if not joint or not key.strip() or not given.strip():
        raise StudyError(f"{text!r} sets nothing", where="--set", fix="give KEY=VALUE,VALUE, as in plan.rounds=10,20")
    values = _values(given)
    for value in values:
        if values.count(value) > 1:
            raise StudyError(f"{key.strip()} has {shown(value)} twice", where="--set", fix="give each value once")
    return Axis(key.strip(), tuple(values))


def _values(text: str) -> list[Json]:
    whole = _RANGE.fullmatch(text)
    if whole:
        first, last = int(whole[1]), int(whole[2])
        if last < first:
            raise StudyError(f"{text.strip()} is empty", where="--set", fix="give the smaller number first")
        return list(range(first, min(last, first + MOST_CELLS) + 1))
    try:
        return [_plain(value) for value in cast("list[object]", tomllib.loads(f"values = [{text}]")["values"])]
    except tomllib.TOMLDecodeError:
        return [_value(word.strip()) for word in text.split(",")]


def _value(word: str) -> Json:
    try:
        return _plain(tomllib.loads(f"value = {word}")["value"])
    except tomllib.TOMLDecodeError:
        return word


def _plain(value: object) -> Json:
    """A value that JSON has too; TOML's dates are the text that they were."""
    return cast(Json, value) if isinstance(value, bool | int | float | str | list) else str(value)


class _Asked(Table):
    """A table that notes the dotted name of every key that it is asked for."""

    def __init__(
        self, file: Path, name: str, content: Mapping[str, object], error: type[StudyError], asked: set[str]
    ) -> None:
        super().__init__(file, name, content, error)
        self._asked = asked

    def has(self, key: str) -> bool:
        self._asked.add(self.path(key))
        return super().has(key)

    def _take(self, key: str, default: T | None, wanted: str, convert: Callable[[object], T | None]) -> T:
        self._asked.add(self.path(key))
        return super()._take(key, default, wanted, convert)

    def table(self, key: str, required: bool = True) -> Table:
        inner = super().table(key, required)
        return _Asked(inner._file, inner._name, inner._content, StudyError, self._asked)


def plan_cells(file: Path, axes: Sequence[Axis]) -> list[Planned]:
    """Every combination's study, read and checked, in the axes' order, the last axis running fastest.

    A key that no study knows, or a value that no combination can use, is a StudyError; a combination of values that
    go with others, but not with each other, is a refusal.
    """
    base = Table.read(file, StudyError, "study")._content  # pyright: ignore[reportPrivateUsage]  the parsed TOML
    asked: set[str] = set()
    read_study(_Asked(file, "", base, StudyError, asked), file)
    faults: dict[str, StudyError] = {}
    planned: list[Planned] = []
    for combination in itertools.product(*(axis.values for axis in axes)):
        cell = Cell(tuple((axis.key, value) for axis, value in zip(axes, combination, strict=True)))
        try:
            study = read_study(_Asked(file, "", _changed(base, cell), StudyError, asked), file)
            planned.append(Planned(cell, study))
        except StudyError as error:
            faults[cell.name] = error
            planned.append(Planned(cell, Refusal(error.what, error.fix)))
    for axis in axes:
        if axis.key not in asked:
            raise StudyError(
                f"the study has no key {axis.key!r}", where="--set", fix=f"did you mean {_nearest(axis.key, asked)}?"
            )
        for value in axis.values:
            own = [one.cell.name for one in planned if (axis.key, value) in one.cell.settings]
            if all(name in faults for name in own):
                raise faults[own[0]]
    return planned


def _changed(base: Mapping[str, object], cell: Cell) -> dict[str, object]:
    """The study's content with the cell's values."""
    content = deepcopy(dict(base))
    for key, value in cell.settings:
        *sections, last = key.split(".")
        place = content
        for section in sections:
            inner = place.setdefault(section, {})
            if not isinstance(inner, dict):
                return content  # no such section: nobody asks for the key, and that is said
            place = cast("dict[str, object]", inner)
        place[last] = value
    return content


def _nearest(key: str, known: Iterable[str]) -> str:
    """The known keys nearest to a dotted one: of the same last word, else of a similar one; its own section first."""
    names = [name for name in known if "[" not in name]
    section, last = key.partition(".")[0], key.rpartition(".")[2]

    def far(name: str) -> tuple[bool, float, str]:
        return name.partition(".")[0] != section, -difflib.SequenceMatcher(None, name, key).ratio(), name

    same = [name for name in names if name.rpartition(".")[2] == last]
    like = [name for name in names if difflib.SequenceMatcher(None, name.rpartition(".")[2], last).ratio() > 0.7]
    close = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    found = sorted(same, key=far) or sorted({*like, *close}, key=far) or sorted(names, key=far)
    return " or ".join(found[:3])
