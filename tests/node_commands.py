"""Commands of a node as people type them, in this process."""

from __future__ import annotations

import pytest

from medquorum.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    """What a command prints that ends with this status: on standard output if it succeeds, else its one line."""
    capsys.readouterr()
    found = main(["node", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert found == status, out + err
    assert "Traceback" not in err
    return out if status == 0 else err
