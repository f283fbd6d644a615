"""Runs that the operator asked for, under the coordinator's folder: what is wanted of each and how it stands.

The service and the operator's command meet in these files only, so either may be killed and started again.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ...errors import MedquorumError
from ...models.checkpoint import Release
from ...privacy import wire
from ...privacy.plan import Plan
from ..errors import BusyError, QuorumError, RunError
from ..run_folder import RunFolder, Settings, result_folder
from .errors import EnrolmentError, NetworkError

State = Literal["requested", "running", "waiting", "finished", "stopped"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Request:
    """One run: its folder, how it stands, and in words why it stopped or waits (to be tried again by itself)."""

    folder: Path
    state: State
    detail: str = ""

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.folder.name

    def require(self, plan: Plan) -> None:
        """RunError unless the run is of this very plan."""
        if (self.folder / "plan.cbor").read_bytes() != wire.encode(plan):
            raise RunError("the folder holds a run of another plan", where=str(self.folder), fix="choose another name")


def ask_for(coordinator: Path, name: str, plan: Plan, release: Release, settings: Settings) -> Request:
    """Ask the service to carry out `plan` (or to go on with it); the folder keeps everything about it."""
    if not _NAME.fullmatch(name):
        raise EnrolmentError(
            f"{name!r} is not a run's name", fix="use letters, digits, dots, hyphens and underscores, at most 63"
        )
    folder = coordinator / "runs" / name
    RunFolder.prepare(folder, plan, release, settings)
    return mark(Request(folder, "requested"))


def note_end(folder: Path, fault: MedquorumError) -> None:
    """Leave word of why the process that carries out the run ends, for the service to read.

    A quorum that may come back is waited for; another process that holds the run will say itself how it goes.
    """
    if isinstance(fault, BusyError):
        return
    state: State = "waiting" if isinstance(fault, QuorumError) and fault.curable else "stopped"
    _write(folder / "ended.json", state, str(fault))


def forget_end(folder: Path) -> None:
    """Clear the word that the last process left, before the next one starts."""
    (folder / "ended.json").unlink(missing_ok=True)


def end_of(folder: Path) -> Request | None:
    """How the process that carried out the run ended, once none does: finished, stopped or waiting, or None when it
    was cut off."""
    if result_folder(folder) is not None:
        return Request(folder, "finished")
    return _read(folder, folder / "ended.json") if (folder / "ended.json").exists() else None


def find(coordinator: Path, name: str) -> Request | None:
    """The run of this name, if it was ever asked for."""
    folder = coordinator / "runs" / name
    return read(folder) if _NAME.fullmatch(name) and (folder / "request.json").exists() else None


def requests(coordinator: Path) -> list[Request]:
    """Every run asked for, by name."""
    return [read(path.parent) for path in sorted((coordinator / "runs").glob("*/request.json"))]


def read(folder: Path) -> Request:
    """How the run in `folder` stands; NetworkError when it was never asked for or cannot be read."""
    return _read(folder, folder / "request.json")


def mark(request: Request) -> Request:
    """Write down how a run stands, atomically."""
    _write(request.folder / "request.json", request.state, request.detail)
    return request


def _read(folder: Path, path: Path) -> Request:
    try:
        held = json.loads(path.read_text())
        state, detail = held["state"], held["detail"]
        if state not in get_args(State) or not isinstance(detail, str):
            raise ValueError("unknown state")
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise NetworkError(
            f"the run's state cannot be read ({fault})", where=str(path), fix="run medquorum coordinator train again"
        ) from fault
    return Request(folder, state, detail)


def _write(path: Path, state: State, detail: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w") as stream:
        json.dump({"state": state, "detail": detail}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
