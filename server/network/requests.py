"""Runs that the operator asked for, under the coordinator's folder: what is wanted of each and how it stands.

The service and the operator's command meet in these files only, so either may be killed and started again.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ...models.checkpoint import Release
from ...privacy.plan import Plan
from ..run_folder import RunFolder, Settings
from .errors import EnrolmentError, NetworkError

State = Literal["requested", "running", "finished", "stopped"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Request:
    """One run: its folder, how it stands, and in words why it stopped."""

    folder: Path
    state: State
    detail: str = ""

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.folder.name


def ask_for(coordinator: Path, name: str, plan: Plan, release: Release, settings: Settings) -> Request:
    """Ask the service to carry out `plan` (or to go on with it); the folder keeps everything about it."""
    if not _NAME.fullmatch(name):
        raise EnrolmentError(
            f"{name!r} is not a run's name", fix="use letters, digits, dots, hyphens and underscores, at most 63"
        )
    folder = coordinator / "runs" / name
    RunFolder.prepare(folder, plan, release, settings)
    return mark(Request(folder, "requested"))


def requests(coordinator: Path) -> list[Request]:
    """Every run asked for, by name."""
    return [read(path.parent) for path in sorted((coordinator / "runs").glob("*/request.json"))]


def read(folder: Path) -> Request:
    """How the run in `folder` stands; NetworkError when it was never asked for or cannot be read."""
    path = folder / "request.json"
    try:
        held = json.loads(path.read_text())
        state, detail = held["state"], held["detail"]
        if state not in ("requested", "running", "finished", "stopped") or not isinstance(detail, str):
            raise ValueError("unknown state")
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise NetworkError(
            f"the run's state cannot be read ({fault})", where=str(path), fix="run medquorum coordinator train again"
        ) from fault
    return Request(folder, state, detail)


def mark(request: Request) -> Request:
    """Write down how a run stands, atomically."""
    path = request.folder / "request.json"
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    kept = asdict(request)
    with beside.open("w") as stream:
        json.dump({"state": kept["state"], "detail": kept["detail"]}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
    return request
