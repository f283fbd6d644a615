"""A TOML table read with types: each fault names file, key and fix, and unknown keys are never passed by."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

from .errors import BadInputError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the known word nearest to `name`, or lists them all when none is near."""
    words = sorted(known)
    match = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    return f"did you mean {match[0]!r}?" if match else f"it must be one of: {', '.join(words)}"


class Table:
    """One table of a TOML file. Each key is taken once, by its type; `done` refuses whatever was not taken.

    error: the kind of error that its faults are.
    """

    def __init__(self, file: Path, name: str, content: Mapping[str, object], error: type[BadInputError]) -> None:
        self._file = file
        self._name = name
        self._error = error
        self._content = dict(content)
        self._known: set[str] = set()

    @classmethod
    def read(cls, file: Path, error: type[BadInputError], what: str) -> Table:
        """The root table of a file; `what` names in the errors what the file should be, such as "study"."""
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise error(f"there is no such {what} file", where=str(file), fix="check the path") from None
        except (OSError, UnicodeDecodeError) as fault:
            raise error(f"cannot be read as text: {fault}", where=str(file), fix="give a UTF-8 TOML file") from None
        except tomllib.TOMLDecodeError as fault:
            raise error(f"is not valid TOML: {fault}", where=str(file), fix="correct that line") from None
        return cls(file, "", content, error)

    def fault(self, key: str, what: str, fix: str) -> BadInputError:
        """The error for `key` of this table."""
        return self._error(what, where=f"{self._file}, {self.path(key)}", fix=fix)

    @contextmanager
    def checked(self, key: str) -> Generator[None]:
        """Give what a dataclass refuses inside the block the file and key that it came from."""
        try:
            yield
        except BadInputError as error:
            if isinstance(error, self._error):
                raise
            raise self.fault(key, error.what, error.fix) from None

    def path(self, key: str) -> str:
        """The key with its table's name, as a person would write it."""
        return f"{self._name}.{key}" if self._name else key

    def has(self, key: str) -> bool:
        """Whether the file gives `key`."""
        self._known.add(key)
        return key in self._content

    def _take(self, key: str, default: T | None, wanted: str, convert: Callable[[object], T | None]) -> T:
        self._known.add(key)
        if key not in self._content:
            if default is None:
                raise self.fault(key, "this key is missing", f"add {key} = {wanted}")
            return default
        value = convert(self._content[key])
        if value is None:
            raise self.fault(key, f"{self._content[key]!r} is not {wanted}", f"give {wanted}")
        return value

    def text(self, key: str, default: str | None = None, choices: Iterable[str] = ()) -> str:
        """A string, one of `choices` where any are given."""
        value = self._take(key, default, "a string", lambda v: v if isinstance(v, str) else None)
        options = tuple(choices)
        if options and value not in options:
            raise self.fault(key, f"{value!r} is not known", nearest(value, options))
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """true or false."""
        return self._take(key, default, "true or false", lambda v: v if isinstance(v, bool) else None)

    def whole(self, key: str, default: int | None = None, low: int = 0, high: int = 2**31 - 1) -> int:
        """An integer in [low, high]."""

        def convert(value: object) -> int | None:
            return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else None

        bound = f"at or above {low}" if high == 2**31 - 1 else f"from {low} to {high}"
        return self._take(key, default, f"a whole number {bound}", convert)

    def number(self, key: str, default: float | None = None, low: float = 0.0, high: float = float("inf")) -> float:
        """A finite number in [low, high]."""

        def convert(value: object) -> float | None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            return float(value) if low <= value <= high and value not in (float("inf"), float("-inf")) else None

        bound = f"at or above {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        return self._take(key, default, f"a number {bound}", convert)

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of strings."""

        def convert(value: object) -> tuple[str, ...] | None:
            if isinstance(value, list):
                items = cast(list[object], value)
                if all(isinstance(item, str) for item in items):
                    return tuple(cast(list[str], items))
            return None

        return self._take(key, default, "a list of strings", convert)

    def numbers(self, key: str, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """A list of numbers at or above 0."""

        def convert(value: object) -> tuple[float, ...] | None:
            if isinstance(value, list):
                items = cast(list[object], value)
                if all(isinstance(item, int | float) and not isinstance(item, bool) and item >= 0 for item in items):
                    return tuple(float(item) for item in cast(list[float], items))
            return None

        return self._take(key, default, "a list of numbers at or above 0", convert)

    def table(self, key: str, required: bool = True) -> Table:
        """The table under `key`; an empty one where it is missing and not required."""
        self._known.add(key)
        value = self._content.get(key)
        if value is None and not required:
            return Table(self._file, self.path(key), {}, self._error)
        if not isinstance(value, dict):
            what = "this section is missing" if value is None else f"{value!r} is not a section"
            raise self.fault(key, what, f"add [{self.path(key)}]")
        return Table(self._file, self.path(key), cast(dict[str, object], value), self._error)

    def tables(self, key: str) -> tuple[Table, ...]:
        """The tables under [[key]], of which there must be at least one."""
        self._known.add(key)
        value = self._content.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in cast(list[object], value)):
            raise self.fault(key, "this list of sections is missing or empty", f"add at least one [[{self.path(key)}]]")
        many = cast(list[dict[str, object]], value)
        return tuple(
            Table(self._file, f"{self.path(key)}[{index + 1}]", one, self._error) for index, one in enumerate(many)
        )

    def pairs(self) -> tuple[tuple[str, float], ...]:
        """Every key of this table with its number in [0, 1], in the file's order."""
        return tuple((key, self.number(key, low=0.0, high=1.0)) for key in self._content)

    def done(self) -> None:
        """Refuse the first key that nothing has asked for."""
        for key in self._content:
            if key not in self._known:
                raise self.fault(key, "this key is unknown", nearest(key, self._known))
