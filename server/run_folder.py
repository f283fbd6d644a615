"""A run on the coordinator's disk: what was asked, how far it got, and nothing half written.

Everything that changes is replaced in one step (write beside, fsync, rename, fsync the folder), so that a process
killed at any moment leaves either the state before or the state after. The number of an attempt is written before
its first message leaves: a node refuses numbers it has seen, and a resumed run must not ask twice under one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Self, TypeVar

import numpy as np

from ..models import checkpoint
from ..models.checkpoint import Release
from ..privacy import wire
from ..privacy.aggregation import Purpose
from ..privacy.errors import WireError
from ..privacy.plan import Plan
from .atomic import replace_file
from .errors import BusyError, RunError
from .holding import hold, is_held
from .outcome import Evaluation, RoundLog, SiteBytes
from .strategy import Vector

T = TypeVar("T")

FINAL, GATED = "final", "gated"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run is carried out, apart from the plan that the sites agree to.

    aggregation: name of the coordinator's side ("plain" or "secure"). synthetic: whether the sites' patients are
    invented, which the release's card then says. gather_seconds: how long to wait for named sites that have not
    shown up. greet_seconds: how long a connected node has to say which site it is. step_seconds: deadline for the
    answers to one step. attempts: attempts at one round before the run stops. wait_seconds: pause between attempts.
    """

    aggregation: str = "plain"
    synthetic: bool = False
    gather_seconds: float = 600.0
    greet_seconds: float = 60.0
    step_seconds: float = 3600.0
    attempts: int = 3
    wait_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class NamedVector:
    """A strategy's memory under its name, float64 little endian."""

    name: str
    values: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run as far as it is finished. parameters: float32 little endian, as every site is sent them. average: the
    running mean of the rounds' models (float64, little endian), empty where the plan's recipe asks for none."""

    plan_hash: bytes
    parameters: bytes
    strategy: tuple[NamedVector, ...]
    before: Evaluation | None
    rounds: tuple[RoundLog, ...]
    traffic: tuple[SiteBytes, ...]
    seconds: float
    average: bytes = b""

    @property
    def released(self) -> bytes:
        """The parameters (float32, little endian) that are measured and in the end released: the mean, if kept."""
        if not self.average:
            return self.parameters
        return np.frombuffer(self.average, dtype="<f8").astype("<f4").tobytes()

    def strategy_state(self) -> dict[str, Vector]:
        """The strategy's memory as arrays (d,)."""
        return {one.name: np.frombuffer(one.values, dtype="<f8").copy() for one in self.strategy}

    def with_strategy(self, state: Mapping[str, Vector]) -> Checkpoint:
        """The same checkpoint with another strategy memory."""
        named = tuple(NamedVector(name, vector.astype("<f8").tobytes()) for name, vector in sorted(state.items()))
        return replace(self, strategy=named)


@dataclass(frozen=True, slots=True)
class Begun:
    """The last attempt that was begun for one purpose."""

    purpose: Purpose
    round: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Attempts:
    """The last attempt begun for each purpose."""

    begun: tuple[Begun, ...]


class RunFolder:
    """The folder of one run, held by one process at a time."""

    def __init__(self, folder: Path, plan: Plan, settings: Settings, lock: IO[bytes]) -> None:
        self.folder = folder
        self.plan = plan
        self.settings = settings
        self._lock = lock

    @classmethod
    def prepare(cls, folder: Path, plan: Plan, release: Release, settings: Settings) -> None:
        """Lay out a new run, or accept the same run laid out before (its settings are then replaced).

        Raises RunError when the release is not the plan's, or when the folder holds another plan's run.
        """
        if release.hash != plan.release:
            raise RunError(
                f"the plan starts from release {plan.release.hex()[:12]} and was given {release.hash.hex()[:12]}",
                where=str(folder),
                fix="give the release that the plan names, or write its hash into the plan",
            )
        folder.mkdir(parents=True, exist_ok=True)
        existing = folder / "plan.cbor"
        if existing.exists():
            if existing.read_bytes() != wire.encode(plan):
                raise RunError(
                    "the folder holds a run of another plan", where=str(folder), fix="choose an empty folder"
                )
        else:
            checkpoint.save(release, folder / "release")
            replace_file(existing, wire.encode(plan))
        replace_file(folder / "settings.cbor", wire.encode(settings))

    @staticmethod
    def is_held(folder: Path) -> bool:
        """Whether a process is carrying out the run in `folder` at this moment."""
        return is_held(folder / "lock")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a prepared run and hold it; RunError when it is none, BusyError when another process holds it."""
        if not (folder / "plan.cbor").is_file():
            raise RunError("not a prepared run", where=str(folder), fix="prepare it with a plan and a release first")
        try:
            lock = hold(folder / "lock")
        except BlockingIOError as held:
            raise BusyError(
                "another process is carrying out this run", where=str(folder), fix="wait for it, or stop it"
            ) from held
        plan = _read(Plan, folder / "plan.cbor")
        return cls(folder, plan, _read(Settings, folder / "settings.cbor"), lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have the run."""
        self._lock.close()

    def starting_release(self) -> Release:
        """The release that the run starts from; RunError when it is not the one that the plan names."""
        release = checkpoint.load(self.folder / "release")
        if release.hash != self.plan.release:
            raise RunError(
                "the starting release was changed since the run was prepared",
                where=str(self.folder / "release"),
                fix="prepare the run again in an empty folder",
            )
        return release

    def checkpoint(self) -> Checkpoint | None:
        """How far the run got; None before its first checkpoint; RunError when it is damaged or another plan's."""
        path = self.folder / "checkpoint.cbor"
        if not path.exists():
            return None
        state = _read(Checkpoint, path)
        if state.plan_hash != self.plan.hash:
            raise RunError("the checkpoint is of another plan", where=str(path), fix="choose an empty folder")
        return state

    def save(self, state: Checkpoint) -> None:
        """Replace the checkpoint; once this returns, it survives a power cut."""
        replace_file(self.folder / "checkpoint.cbor", wire.encode(state))

    def begin(self, purpose: Purpose, round: int) -> int:
        """Return the number of a new attempt (from 1 in each round), on disk before it is returned."""
        path = self.folder / "attempts.cbor"
        known = _read(Attempts, path).begun if path.exists() else ()
        last = next((one for one in known if one.purpose == purpose), None)
        number = last.attempt + 1 if last is not None and last.round == round else 1
        others = tuple(one for one in known if one.purpose != purpose)
        replace_file(path, wire.encode(Attempts((*others, Begun(purpose, round, number)))))
        return number

    def has_final(self) -> bool:
        """Whether the run's result is there, released or gated."""
        return result_folder(self.folder) is not None

    def save_final(self, release: Release, gated: str = "") -> None:
        """Keep the run's result beside its checkpoint: in `final`, or in `gated` where a gate keeps it from use."""
        checkpoint.save(release, self.folder / (GATED if gated else FINAL))


def result_folder(folder: Path) -> Path | None:
    """Where the result of the run in `folder` lies, released or gated; None while there is none."""
    return next((folder / name for name in (FINAL, GATED) if (folder / name).is_dir()), None)


def _read(kind: type[T], path: Path) -> T:
    try:
        return wire.decode(kind, path.read_bytes())
    except (OSError, WireError) as fault:
        raise RunError(f"cannot be read: {fault}", where=str(path), fix="restore it from a copy") from fault
