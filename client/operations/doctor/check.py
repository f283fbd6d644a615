"""One check's outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ....errors import MedquorumError

State = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and, where it failed, the one thing to do about it ("" otherwise).

    skipped: it could not be looked at, since it does not apply or an earlier check failed.
    """

    name: str
    state: State
    said: str
    fix: str = ""


def passed(name: str, said: str) -> Check:
    """It is as it should be."""
    return Check(name, "passed", said)


def failed(name: str, said: str, fix: str) -> Check:
    """It is not, and this is what to do."""
    return Check(name, "failed", said, fix)


def skipped(name: str, why: str) -> Check:
    """It was not looked at."""
    return Check(name, "skipped", why)


def attempted(name: str, look: Callable[[], str]) -> Check:
    """Passed with what `look` returns, or failed with the error that it raises: its text, its place and its fix."""
    try:
        return passed(name, look())
    except MedquorumError as fault:
        place = f"{fault.where}: " if fault.where else ""
        return failed(name, f"{place}{fault.what}", fault.fix or "see the node's log")
    except OSError as fault:
        return failed(name, f"{fault.filename or name}: {fault.strerror or fault}", "check the node's user and folder")
