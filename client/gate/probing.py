"""Trying the sandbox out: what a shut-in process can still do on this machine, for `medquorum node doctor` to name."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from .sandbox import MEMORY_BYTES, SandboxLevel, enter


@dataclass(frozen=True, slots=True)
class Probe:
    """level: the layers that this machine gave. escapes: what the shut-in process tried and, wrongly, could do."""

    level: SandboxLevel
    escapes: tuple[str, ...]


def probe() -> Probe:
    """Start a process, shut it in as a worker is, let it try to get out, and say how far it came (about 0.3 s)."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "written"
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(target)],
            capture_output=True,
            timeout=60,
            check=False,
            env={name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")},
        )
        written = target.exists() and target.stat().st_size > 0
    try:
        found = json.loads(done.stdout)
        level, escapes = SandboxLevel(**found["level"]), tuple(found["escapes"])
    except (ValueError, KeyError, TypeError):
        return Probe(SandboxLevel(False, False, False), ("the probe itself did not run",))
    return Probe(level, (*escapes, "it left a file behind") if written else escapes)


def _connect() -> None:
    socket.socket().close()


def _write(target: str) -> None:
    # As a worker must not: past every limit on sizes, a file of one byte.
    Path(target).write_bytes(b"x")


def _start() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _allocate() -> None:
    len(bytearray(MEMORY_BYTES + 1))


def _main(target: str) -> None:
    level = enter()
    escapes: list[str] = []
    attempts = (
        ("it could open a socket", _connect, level.seccomp),
        ("it could start a process", _start, level.seccomp),
        ("it could write a file", lambda: _write(target), level.seccomp),
        ("it could use more memory than allowed", _allocate, level.limits),
    )
    for escape, attempt, forbidden in attempts:
        try:
            attempt()
        except (OSError, MemoryError):
            continue
        if forbidden:
            escapes.append(escape)
    os.write(1, json.dumps({"level": asdict(level), "escapes": escapes}).encode())


if __name__ == "__main__":
    _main(sys.argv[1])
