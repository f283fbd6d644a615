"""The ledger on a disk that loses power, and in a process killed before each single change of a file.

A small library (io/recorder.c, built here with the machine's C compiler) stands between the process and its files. It
records every write, sync, truncation and name, from which the states are made that a disk may be in after a power cut;
and it kills the process before the n-th of them, for every n.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest

from medquorum.privacy.errors import LedgerError
from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.ledger import Ledger

HERE = Path(__file__).parent / "io"
CHARGES = 12
ROUND = GaussianSteps(1000.0, 1.0, 1)

# Charges and says after each how many there are; with "careless", through a ledger that never syncs.
RECORDED = """
import ctypes, sys
from pathlib import Path
from medquorum.privacy import ledger as room
from medquorum.privacy.events import GaussianSteps
mark = ctypes.CDLL(None).mq_mark
if sys.argv[2] == "careless":
    connect = room.sqlite3.connect
    class Careless(room.sqlite3.Connection):
        def execute(self, statement, *rest):
            return super().execute(statement.replace("synchronous = EXTRA", "synchronous = OFF"), *rest)
    room.sqlite3.connect = lambda *words, **more: connect(*words, factory=Careless, **more)
ledger = room.Ledger.create(Path(sys.argv[1]), "north", 10.0, 1e-3)
mark(ctypes.c_int64(0))
for number in range(1, 13):
    ledger.charge(b"p" * 32, "update", number, 1, [GaussianSteps(1000.0, 1.0, 1)], 8.0)
    mark(ctypes.c_int64(number))
"""

# Forks for every n a child that is killed before its n-th change of a file, until one comes through; prints for each
# what it had acknowledged when it died and what the file holds.
KILLED = """
import ctypes, json, os, sys
from pathlib import Path
from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.ledger import Ledger
arm = ctypes.CDLL(None).mq_arm
root, outcomes, number, through = Path(sys.argv[1]), [], 0, False
def work(path, acknowledge):
    ledger = Ledger.create(path, "north", 10.0, 1e-3)
    os.write(acknowledge, b".")
    for round_ in (1, 2):
        ledger.charge(b"p" * 32, "update", round_, 1, [GaussianSteps(1000.0, 1.0, 1)], 8.0)
        os.write(acknowledge, b".")
warm = root / "warm"
warm.mkdir()
work(warm / "ledger", os.open(os.devnull, os.O_WRONLY))
while not through:
    number += 1
    folder = root / str(number)
    folder.mkdir()
    path = folder / "ledger"
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        arm(ctypes.c_int64(number))
        work(path, write)
        os._exit(0)
    os.close(write)
    through = os.waitpid(child, 0)[1] == 0
    acknowledged = len(os.read(read, 100))
    os.close(read)
    held = len(Ledger.open(path, "north").charges()) if path.exists() else -1
    if held >= 0:
        Ledger.open(path).charge(b"p" * 32, "update", 9, 1, [GaussianSteps(1000.0, 1.0, 1)], 8.0)
    outcomes.append((acknowledged, held))
print(json.dumps(outcomes))
"""


def _traces() -> ModuleType:
    spec = util.spec_from_file_location("traces", HERE / "traces.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["traces"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


TRACES = _traces()


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, built with what Python itself is built with on Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux":
        pytest.skip("records Linux system calls")
    if compiler is None and "CI" not in os.environ:
        pytest.skip("needs a C compiler (apt-get install gcc)")
    assert compiler is not None, "CI needs a C compiler for the ledger's power cuts: apt-get install gcc"
    library = tmp_path_factory.mktemp("recorder") / "recorder.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, HERE / "recorder.c", "-ldl"], check=True)
    return library


def run(recorder: Path, root: Path, program: str, *words: str) -> str:
    root.mkdir()
    found = {"LD_PRELOAD": str(recorder), "MQ_IO_ROOT": str(root), "MQ_IO_LOG": str(root) + ".log"}
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, **found},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Where the states are laid out: in memory where there is such a place, since nothing there needs to last."""
    place = Path("/dev/shm")
    with TemporaryDirectory(dir=place if os.access(place, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def judged(state: dict[str, bytes], root: Path, folder: Path, acknowledged: int) -> str:
    """What opening this state shows: "" or what is wrong with it."""
    folder.mkdir()
    for path, content in state.items():
        (folder / Path(path).relative_to(root)).write_bytes(content)
    ledger = folder / "ledger"
    if not ledger.exists():
        return "" if acknowledged < 0 else "gone"
    try:
        opened = Ledger.open(ledger, "north")
    except LedgerError as fault:
        return f"corrupt: {fault.what}"
    rounds = [charge.round for charge in opened.charges()]
    if rounds != list(range(1, len(rounds) + 1)):
        return f"holds {rounds}"
    if not max(acknowledged, 0) <= len(rounds) <= acknowledged + 1:
        return f"{len(rounds)} charges, {acknowledged} acknowledged"
    opened.charge(b"p" * 32, "update", 99, 1, [ROUND], 8.0)
    return ""


def test_no_power_cut_loses_a_charge_or_breaks_the_ledger(recorder: Path, tmp_path: Path, memory: Path) -> None:
    root = tmp_path / "disk"
    run(recorder, root, RECORDED, str(root / "ledger"), "careful")
    operations = TRACES.read(Path(f"{root}.log"))
    assert [one.offset for one in operations if one.kind == "M"] == list(range(CHARGES + 1))
    lossy, seen = 0, set[int]()
    for acknowledged, unsynced, state in TRACES.power_cuts(operations, str(root), 26, random.Random(1)):
        key = hash((acknowledged, frozenset(state.items())))
        if key in seen:
            continue
        seen.add(key)
        lossy += unsynced > 0
        fault = judged(state, root, memory / "state", acknowledged)
        shutil.rmtree(memory / "state")
        assert not fault, (len(seen), fault)
    assert len(seen) >= 1000 and lossy >= 700, "too few different states, or too few that could have lost something"


def test_a_ledger_that_does_not_sync_is_caught_by_the_same_test(recorder: Path, tmp_path: Path) -> None:
    root = tmp_path / "disk"
    run(recorder, root, RECORDED, str(root / "ledger"), "careless")
    operations = TRACES.read(Path(f"{root}.log"))
    for number, (acknowledged, _, state) in enumerate(
        TRACES.power_cuts(operations, str(root), 3, random.Random(1)), start=1
    ):
        if judged(state, root, tmp_path / f"state{number}", acknowledged):
            return
    raise AssertionError("a ledger without a single sync passed every power cut")


def test_killed_before_every_change_of_a_file_it_is_whole_and_counts_what_was_acknowledged(
    recorder: Path, memory: Path
) -> None:
    root = memory / "killed"
    outcomes = json.loads(run(recorder, root, KILLED, str(root)))
    assert len(outcomes) > 60, "creating and charging twice changes files at least so often"
    for number, (acknowledged, held) in enumerate(outcomes, start=1):
        # acknowledged: 1 for the ledger, 1 for each charge. Without a file nothing was acknowledged at all.
        assert acknowledged - 1 <= held <= acknowledged, (number, acknowledged, held)
    assert outcomes[-1] == [3, 2]
