"""The gate: every file from outside is read by a worker of its own process, never by the node's.

A worker that dies, hangs or runs out of memory takes one file with it, which is refused with that reason; the next
file gets a fresh worker. Workers are also replaced after some hundreds of files, so that nothing a file left behind in
one lasts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ..deidentify import Deidentification, Original
from ..errors import NodeError
from ..pixels import DEFAULT_LIMITS, Limits, UnreadableError
from ..pixels.preview import SIDE
from ..pixels.unreadable import Code
from .allowed import SOP_CLASSES
from .examine import Examined
from .frames import BrokenPipeline, receive, send
from .sandbox import MEMORY_BYTES, SandboxLevel

SECONDS = 30.0
FILES_PER_WORKER = 500
# A worker of 2 GiB holds a file about four times over while it reads it.
GATE_LIMITS = replace(DEFAULT_LIMITS, file_bytes=512 << 20, inflated_bytes=256 << 20, frame_bytes=256 << 20)
_LONGEST_TEXT = 4096
_T = TypeVar("_T", Examined, Original)
_PREVIEW_BYTES = SIDE * SIDE + 64


class GateError(NodeError):
    """The gate cannot work on this machine at all."""


class Examiner(Protocol):
    """Whoever can say of a file's bytes what they are; `Gate`, or `InProcess` for files that we made ourselves."""

    def examine(self, content: bytes, how: Deidentification | None = None) -> Examined:
        """Judge one file, and de-identify it where `how` is given. Raises UnreadableError with code and sentence."""
        ...


def cores() -> int:
    """Workers that are worth starting: as many as this process may use cores, at most eight."""
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


class _Worker:
    """One shut-in process, used by one thread at a time."""

    def __init__(self, seconds: float, memory: int) -> None:
        self._seconds = seconds
        self.served = 0
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__.rpartition(".")[0] + ".worker", str(seconds), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        try:
            level, _ = self._wait(60.0, 0)
            self.level = SandboxLevel(**level)
        except (UnreadableError, TypeError) as fault:
            self.end()
            raise GateError(
                "the gate's worker does not start", fix="run medquorum node doctor; it says what this machine lacks"
            ) from fault

    @property
    def lives(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def ask(self, header: dict[str, Any], content: bytes, longest: int) -> tuple[dict[str, Any], bytearray]:
        """One request and its answer. UnreadableError too-slow or crashed when the worker is gone afterwards."""
        self.served += 1
        return self._wait(self._seconds, longest, header, content)

    def _wait(
        self, seconds: float, longest: int, header: dict[str, Any] | None = None, content: bytes = b""
    ) -> tuple[dict[str, Any], bytearray]:
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, kill)
        timer.start()
        try:
            if header is not None:
                send(self._to, header, content)
            return receive(self._from, longest)
        except BrokenPipeline:
            self.end()
            if late.is_set() or self._process.returncode == -signal.SIGPROF:
                raise UnreadableError("too-slow", f"it could not be read within {seconds:.0f} seconds") from None
            raise UnreadableError("crashed", f"reading it ended its worker ({self._death()})") from None
        finally:
            timer.cancel()

    def _death(self) -> str:
        code = self._process.returncode
        with suppress(ValueError):
            if code is not None and code < 0:
                return signal.Signals(-code).name
        return f"exit code {code}"

    def end(self) -> None:
        """Kill the process, if it still lives, and close the pipes."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()


def _environment() -> dict[str, str]:
    """Nothing of the node's environment but what Python needs: no proxies, no credentials. One thread for each."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**kept, **dict.fromkeys(threads, "1"), "PYTHONDONTWRITEBYTECODE": "1", "MALLOC_ARENA_MAX": "2"}


class Gate:
    """A few workers, started when first needed. Safe to use from several threads; close it, or use it in a `with`.

    limits: what a file may ask. classes: storage classes let in. workers: how many processes (default: one a core).
    seconds: what one file may take, by the clock and by the processor; memory: what a worker may
    use, in bytes. Raises GateError where no sandbox is to be had.
    """

    def __init__(
        self,
        limits: Limits = GATE_LIMITS,
        classes: Sequence[str] = SOP_CLASSES,
        *,
        workers: int | None = None,
        seconds: float = SECONDS,
        memory: int = MEMORY_BYTES,
        files_per_worker: int = FILES_PER_WORKER,
    ) -> None:
        self._limits = limits
        self._classes = tuple(classes)
        self._seconds = seconds
        self._memory = memory
        self._files_per_worker = files_per_worker
        self._idle: list[_Worker] = []
        self._turn = threading.Lock()
        self._places = threading.Semaphore(workers or cores())
        self._closed = False

    def examine(self, content: bytes, how: Deidentification | None = None) -> Examined:
        """What a DICOM file is, and with `how` what of it may be stored.

        Raises UnreadableError with a code and a sentence for the person who must act.
        """
        longest = _PREVIEW_BYTES + (2 * self._limits.file_bytes if how is not None else 0)
        plain = None if how is None else how.plain()
        header, body = self._ask("examine", content, longest, classes=self._classes, how=plain)
        return _examined(header, body)

    def frame(self, content: bytes, number: int = 0) -> tuple[NDArray[np.generic], str]:
        """Stored values (rows, columns[, 3]) of one frame and their colour space; as `pixels.stored_frame`."""
        header, body = self._ask("frame", content, self._limits.frame_bytes, frame=number)
        try:
            array: NDArray[np.generic] = np.frombuffer(body, np.dtype(str(header["dtype"]))).reshape(header["shape"])
            return array, str(header["space"])
        except (KeyError, TypeError, ValueError) as fault:
            raise _nonsense() from fault

    def directory(self, content: bytes) -> list[str]:
        """The files that a DICOMDIR names, as relative POSIX paths that do not leave its folder."""
        header, _ = self._ask("directory", content, 0)
        files = header.get("files")
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            raise _nonsense()
        return [file for file in files if ".." not in file.split("/") and not file.startswith("/")]

    def level(self) -> SandboxLevel:
        """How far the workers are shut in; starts one if none runs."""
        worker = self._take()
        self._give(worker)
        return worker.level

    def close(self) -> None:
        """End every worker."""
        with self._turn:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, do: str, content: bytes, longest: int, **more: object) -> tuple[dict[str, Any], bytearray]:
        if len(content) > self._limits.file_bytes:  # it need not even travel
            raise UnreadableError(
                "too-large", f"the file has {len(content)} bytes; {self._limits.file_bytes} are allowed"
            )
        worker = self._take()
        try:
            header, body = worker.ask({"do": do, "limits": asdict(self._limits), **more}, content, longest)
        except BaseException:
            worker.end()
            self._places.release()
            raise
        self._give(worker, retire=bool(header.get("retire")))
        if "code" in header:
            raise _fault(header)
        return header, body

    def _take(self) -> _Worker:
        self._places.acquire()
        try:
            with self._turn:
                while self._idle:
                    waiting = self._idle.pop()
                    if waiting.lives:  # killed from outside while idle: no file's fault
                        return waiting
                    waiting.end()
            worker = _Worker(self._seconds, self._memory)
            if worker.level.name == "none":
                worker.end()
                raise GateError(
                    "this machine gives no sandbox at all, and files from outside are not read without one",
                    fix="run the node on Linux",
                )
            return worker
        except BaseException:
            self._places.release()
            raise

    def _give(self, worker: _Worker, *, retire: bool = False) -> None:
        with self._turn:
            keep = not (retire or self._closed or worker.served >= self._files_per_worker)
            if keep:
                self._idle.append(worker)
        if not keep:
            worker.end()
        self._places.release()


def _fault(header: dict[str, Any]) -> UnreadableError:
    code, what = header["code"], header.get("what")
    if code not in get_args(Code) or not isinstance(what, str):
        return _nonsense()
    known: Literal["bad-header"] = code  # any of Code's, as just seen
    return UnreadableError(known, what[:_LONGEST_TEXT])


def _nonsense() -> UnreadableError:
    return UnreadableError("crashed", "reading it made its worker answer nonsense")


def _examined(header: dict[str, Any], body: bytearray) -> Examined:
    """A worker's answer, with every field of its type and no text longer than any that it can have read."""
    plain = dict(header)
    split, original = plain.pop("preview_bytes", None), plain.pop("original", None)
    if type(split) is not int or not 0 <= split <= min(len(body), _PREVIEW_BYTES):
        raise _nonsense()
    whole = memoryview(body)
    plain |= {"preview": bytes(whole[:split]), "content": bytes(whole[split:])}
    if original is not None and not isinstance(original, dict):
        raise _nonsense()
    return _typed(Examined, {**plain, "original": None if original is None else _typed(Original, original)})


def _typed(kind: type[_T], found: dict[str, Any]) -> _T:
    kinds = get_type_hints(kind)
    if found.keys() != kinds.keys():
        raise _nonsense()
    for name, value in found.items():
        if not isinstance(value, kinds[name]) or (isinstance(value, str) and len(value) > _LONGEST_TEXT):
            raise _nonsense()
    return kind(**found)
