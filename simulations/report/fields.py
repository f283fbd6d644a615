"""Strict reading of a JSON object, field by field: every fault names the key it was met at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar, cast

from ..errors import StudyError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
_T = TypeVar("_T")


class Fields:
    """The fields of one JSON object at `where` (a dotted path), each read by the kind of value it must hold.

    Every method raises StudyError when the field is missing or of another kind.
    """

    def __init__(self, value: Json, where: str) -> None:
        if not isinstance(value, dict):
            raise _fault(where, "is not an object")
        self._values: Mapping[str, Json] = value
        self._where = where

    def raw(self, key: str) -> Json:
        """The field as it stands."""
        if key not in self._values:
            raise _fault(self._path(key), "is missing")
        return self._values[key]

    def text(self, key: str) -> str:
        """A string."""
        return _as_text(self.raw(key), self._path(key))

    def flag(self, key: str) -> bool:
        """true or false."""
        value = self.raw(key)
        if not isinstance(value, bool):
            raise _fault(self._path(key), "is neither true nor false")
        return value

    def count(self, key: str) -> int:
        """A whole number at or above 0."""
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise _fault(self._path(key), "is not a whole number at or above 0")
        return value

    def integer(self, key: str) -> int:
        """A whole number of either sign."""
        value = self.raw(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _fault(self._path(key), "is not a whole number")
        return value

    def number(self, key: str, *, absent: float) -> float:
        """A number; JSON has no infinity and no NaN, so null stands for `absent`."""
        value = self.optional_number(key)
        return absent if value is None else value

    def optional_number(self, key: str) -> float | None:
        """A number, or null."""
        return _as_number(self.raw(key), self._path(key))

    def object(self, key: str) -> Fields:
        """A nested object."""
        return Fields(self.raw(key), self._path(key))

    def objects(self, key: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(value, place) for value, place in self._items(key)]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(_as_text(value, place) for value, place in self._items(key))

    def numbers(self, key: str) -> tuple[float | None, ...]:
        """A list of numbers or nulls."""
        return tuple(_as_number(value, place) for value, place in self._items(key))

    def interval(self, key: str) -> tuple[float, float]:
        """A list of exactly two numbers."""
        ends = self.numbers(key)
        low, high = ends if len(ends) == 2 else (None, None)
        if low is None or high is None:
            raise _fault(self._path(key), "is not a list of two numbers")
        return low, high

    def by_name(self, key: str, names: tuple[str, ...]) -> tuple[float | None, ...]:
        """An object from each of `names` to a number or null, given back in the order of `names`; () when empty."""
        fields = self.object(key)
        if not fields._values:
            return ()
        return tuple(fields.optional_number(name) for name in names)

    def text_pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """An object from strings to strings, as pairs in its own order."""
        value = self.raw(key)
        if not isinstance(value, dict):
            raise _fault(self._path(key), "is not an object")
        return tuple((name, _as_text(item, f"{self._path(key)}.{name}")) for name, item in value.items())

    def decoded(self, key: str, decode: Callable[[str], _T], kind: str) -> _T:
        """A string in some encoding, decoded by `decode` (which raises ValueError)."""
        try:
            return decode(self.text(key))
        except ValueError as error:
            raise _fault(self._path(key), f"is not {kind}") from error

    def _items(self, key: str) -> list[tuple[Json, str]]:
        value = self.raw(key)
        if not isinstance(value, list):
            raise _fault(self._path(key), "is not a list")
        return [(item, f"{self._path(key)}[{place}]") for place, item in enumerate(cast("list[Json]", value))]

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key


def _as_text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise _fault(where, "is not a string")
    return value


def _as_number(value: Json, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _fault(where, "is not a number")
    return float(value)


def _fault(where: str, what: str) -> StudyError:
    return StudyError(
        f"the key {what}" if where else f"the report {what}",
        where=where,
        fix="use a report.json that medquorum wrote; docs/report.md lists its keys",
    )
