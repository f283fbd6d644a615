"""A lock on a file: one holder at a time, told to whoever asks, and gone with its holder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medquorum.server.holding import hold, is_held

HOLDER = "import sys; from pathlib import Path; from medquorum.server.holding import hold\n"


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    assert not path.exists(), "who only asks leaves nothing behind"
    with hold(path):
        assert is_held(path)
        with pytest.raises(BlockingIOError):
            hold(path)
    assert not is_held(path)
    hold(path).close()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = HOLDER + "lock = hold(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_held(path)
        holder.kill()
    assert not is_held(path)
