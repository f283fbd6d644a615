"""kill -9 at random moments: what was acknowledged is on disk, and what is on disk checks."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.ledger import Ledger

KILLS = 40
PLAN = b"p" * 32
ROUND = GaussianSteps(1000.0, 1.0, 1)


def _charge_for_ever(path: Path, generation: int, acknowledge: int) -> None:
    ledger = Ledger.open(path)
    round_ = 0
    while True:
        ledger.charge(PLAN, "update", generation, round_, [ROUND], 8.0)
        os.write(acknowledge, b".")
        round_ += 1


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger.create(path, "north", 10.0, 1e-3)
    chance = random.Random(1)
    kept = 0
    in_the_middle = 0
    for generation in range(KILLS):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _charge_for_ever(path, generation, write)
            finally:
                os._exit(1)
        os.close(write)
        first = os.read(read, 1)  # the child is at work; now any moment will do
        assert first == b"."
        time.sleep(chance.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged = 1
        while more := os.read(read, 4096):
            acknowledged += len(more)
        os.close(read)
        in_the_middle += path.with_name(path.name + "-journal").exists()
        charges = Ledger.open(path, "north").charges()
        mine = [charge for charge in charges if charge.round == generation]
        assert len(charges) - len(mine) == kept
        assert acknowledged <= len(mine) <= acknowledged + 1
        kept = len(charges)
    assert in_the_middle > 0, "no kill met a transaction, so this test showed nothing"
    assert ledger.spent() > 0.0
    ledger.charge(PLAN, "update", KILLS, 0, [ROUND], 8.0)
