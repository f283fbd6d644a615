"""Time and memory of a simulated federation: our in-process engine, and the same nodes on Flower's Ray engine.

Ten hospitals with a few images each train a tiny CNN for three rounds, as full nodes: encrypted store, ledger charged
before each update, evaluation, checkpoint. Each run is a process of its own on fresh copies of the same nodes. On Ray
they run as `simulate run --engine ray` runs them: Flower's actors pass messages on to one resident actor for each node.
Time is from the start of the process to its end, as somebody waits for it; memory is the peak of the process and all
that it started (proportional set size, so that shared pages count once).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from _harness import Cell, compare, main, say  # noqa: E402

ROUNDS = 3
LIMIT_MB = 4000.0
NOTES = (
    "each run starts a process, imports everything, trains 3 rounds and ends; the nodes are made beforehand",
    "memory is the peak of the sum over the process and its children, proportional set size",
    "both sides run with the number of threads that torch chooses by itself",
)
_SAMPLE_SECONDS = 0.1
_PATIENTS, _HELD_OUT = 6, 2


def site(number: int) -> str:
    """A hospital's name."""
    return f"site{number:03d}"


def make_nodes(folder: Path, clients: int) -> None:
    """Lay out every hospital's node."""
    from hospitals import make_node

    for number in range(clients):
        make_node(folder / site(number), site(number), patients=_PATIENTS, held_out=_HELD_OUT, images=1).close()


def carry_out(engine: str, nodes: Path, out: Path) -> None:
    """The federation, in this process (and what Ray starts)."""
    from hospitals import RIGHTS, make_plan, make_release

    from medquorum.simulations.engine import federate

    folders = {path.name: path for path in sorted(nodes.iterdir())}
    release = make_release()
    plan = make_plan(release, dict.fromkeys(folders, _PATIENTS), rounds=ROUNDS)
    outcome = federate(folders, plan, release, out, "ray" if engine == "ray" else "inprocess", RIGHTS)
    if len(outcome.rounds) != ROUNDS or any(len(one.survivors) != len(folders) for one in outcome.rounds):
        raise SystemExit("a round is missing, or a hospital in it")


class Runs:
    """Runs one engine on fresh copies of the nodes, and remembers each run's peak memory."""

    def __init__(self, nodes: Path, scratch: Path, engine: str) -> None:
        self._nodes, self._scratch, self._engine = nodes, scratch, engine
        self._turns = count(1)
        self.peaks: list[float] = []

    def seconds(self) -> float:
        """One run: its wall clock."""
        place = self._scratch / f"{self._engine}{next(self._turns)}"
        place.mkdir()
        shutil.copytree(self._nodes, place / "nodes")
        command = [sys.executable, str(Path(__file__).resolve()), "--carry-out", self._engine, str(place)]
        began = time.monotonic()
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=place, env=_environment())
            peak = [0.0]
            watcher = threading.Thread(target=_watch, args=(process, peak))
            watcher.start()
            code = process.wait()
            took = time.monotonic() - began
            watcher.join()
        if code:
            raise SystemExit(f"{self._engine} failed:\n{(place / 'log').read_text()[-3000:]}")
        shutil.rmtree(place, ignore_errors=True)
        self.peaks.append(peak[0])
        return took


def _environment() -> dict[str, str]:
    return {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "PYTHONWARNINGS": "ignore"}


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], _megabytes(process.pid))
        time.sleep(_SAMPLE_SECONDS)


def _megabytes(root: int) -> float:
    """Proportional set size of a process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    family = {root}
    while grown := {one for one, parent in parents.items() if parent in family} - family:
        family |= grown
    total = 0
    for one in family:
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1000.0


def measure(quick: bool) -> Sequence[Cell]:
    """Both engines in turn; then many clients on ours alone, beside the limit that it must stay under."""
    clients, many, runs = (4, 8, 1) if quick else (10, 100, 3)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        few, crowd = folder / "few", folder / "crowd"
        say(f"making {clients} and {many} nodes")
        make_nodes(few, clients)
        make_nodes(crowd, many)
        ours, theirs, all_of_them = (
            Runs(few, folder, "inprocess"),
            Runs(few, folder, "ray"),
            Runs(crowd, folder / "crowded", "inprocess"),
        )
        (folder / "crowded").mkdir()
        name, case = "Flower 1.41 on Ray", f"{clients} clients x {ROUNDS} rounds"
        cells = [compare(f"{case}, time", ours.seconds, theirs.seconds, name, "s", "cost", runs)]
        # The first run of each warms the disk's cache and does not count, here as there.
        cells.append(_paired(f"{case}, peak memory", ours.peaks[1:], theirs.peaks[1:], name))
        all_of_them.seconds()
        cells.append(
            _paired(f"{many} clients x {ROUNDS} rounds, peak memory", all_of_them.peaks, [LIMIT_MB], "the limit")
        )
        return cells


def _paired(case: str, ours: Sequence[float], theirs: Sequence[float], name: str) -> Cell:
    """A cell of peaks that were taken in pairs of runs, in MB."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    mine, other, ratio = (statistics.median(values) for values in (ours, theirs, ratios))
    say(f"{case}: {mine:.4g} against {other:.4g} MB, ratio {ratio:.3f}")
    return Cell(case, mine, other, name, "MB", ratio, len(ratios), (min(ratios), max(ratios)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--carry-out"]:
        carry_out(sys.argv[2], Path(sys.argv[3]) / "nodes", Path(sys.argv[3]) / "run")
    else:
        main("simulation", __doc__ or "", measure, NOTES)
