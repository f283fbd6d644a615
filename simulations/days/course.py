"""What one loop over the days found: plain frozen data, and its JSON file, written once and whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from functools import reduce
from pathlib import Path
from typing import TypeVar, cast

from ...server.atomic import replace_file
from ..errors import StudyError

SCHEMA = "medquorum.days.course/1"
TRAINED = "trained"
"""What is said of a night that gave a release."""


@dataclass(frozen=True, slots=True)
class Work:
    """Readers' work and what came of it, over all hospitals. wrong of known: stated findings that differ from the
    truth, among those whose truth is known."""

    images: int = 0
    actions: float = 0.0
    seconds: float = 0.0
    wrong: int = 0
    known: int = 0

    def plus(self, other: Work) -> Work:
        """Both."""
        return Work(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Work)))

    @property
    def error(self) -> float | None:
        """The share of stated findings that are wrong."""
        return self.wrong / self.known if self.known else None


def total(works: Iterable[Work]) -> Work:
    """All of them together."""
    return reduce(Work.plus, works, Work())


@dataclass(frozen=True, slots=True)
class Day:
    """Everything up to the evening of a day (from 1 on), and the night after it.

    work: as the loop did it; by_hand, commoner: the same images read without proposals, and with the commoner class of
    each finding proposed for every one. studies: read; trained_on: patients who entered training; most_read: the most
    studies that one hospital read on this day. night: "" where nothing was meant to be trained, "trained", or why it
    was not. auroc: of the release after the night, on patients who take no part (None: one class only, or none trained
    yet). committed, renyi: of the ledgers, the most; the epsilon of started plans, and the share used of the filter
    for many small ones.
    """

    day: int
    work: Work
    by_hand: Work
    commoner: Work
    studies: int
    trained_on: int
    most_read: int
    night: str
    auroc: float | None
    committed: float
    renyi: float


@dataclass(frozen=True, slots=True)
class Finish:
    """One way of labelling everything, the days included.

    how: "hand", "commoner" (proposed for every image), "commoner unseen" (accepted for every image), "shown" (the rest
    read with its proposal), "alone" and "together" (proposals accepted unseen at `precision`, the rest read; by each
    hospital's own hidden share, or by all of them as one). waiting: images nobody had read when the days were over;
    unseen: accepted of them; right: of these, how many images are right in every known finding; sites: hospitals that
    could accept any, of so many; hidden, needed: hidden patients (the fewest and the most of a threshold that was
    sought), and how many there must be.
    """

    how: str
    precision: float | None
    work: Work
    waiting: int
    unseen: int
    right: int
    able: int
    sites: int
    hidden_fewest: int
    hidden_most: int
    needed: int


@dataclass(frozen=True, slots=True)
class Course:
    """One loop: a seed and an order of the worklist."""

    seed: int
    order: str
    patients: int
    images: int
    days: tuple[Day, ...]
    finishes: tuple[Finish, ...]


def save(course: Course, folder: Path) -> None:
    """Write a course's file in one step."""
    text = json.dumps({"schema": SCHEMA, **asdict(course)}, ensure_ascii=False, allow_nan=False, indent=1)
    replace_file(folder / f"{name_of(course.seed, course.order)}.json", text.encode())


def name_of(seed: int, order: str) -> str:
    """A course's file, without its ending."""
    return f"seed{seed}-{order}"


def load(seed: int, order: str, folder: Path) -> Course | None:
    """A course where it is finished; StudyError when its file is not what `save` wrote for it."""
    path = folder / f"{name_of(seed, order)}.json"
    try:
        told = cast(dict[str, object], json.loads(path.read_bytes()))
        if (told.pop("schema"), told["seed"], told["order"]) != (SCHEMA, seed, order):
            raise ValueError("it holds another loop")
        days = tuple(_day(one) for one in cast(list[dict[str, object]], told.pop("days")))
        finishes = tuple(
            _made(Finish, one, work=_made(Work, one["work"]))
            for one in cast(list[dict[str, object]], told.pop("finishes"))
        )
        return _made(Course, told, days=days, finishes=finishes)
    except FileNotFoundError:
        return None
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"a finished loop cannot be read back: {error}", where=str(path), fix="delete the file; it is run again"
        ) from None


_T = TypeVar("_T")


def _made(kind: Callable[..., _T], told: object, **parts: object) -> _T:
    """A dataclass from its JSON object with some parts made already; TypeError on a key too many or too few."""
    return kind(**{**cast(dict[str, object], told), **parts})


def _day(told: dict[str, object]) -> Day:
    return _made(Day, told, **{name: _made(Work, told[name]) for name in ("work", "by_hand", "commoner")})
