"""Every benchmark runs alone, prints one object in the form DESIGN section 8 gives, and computes its ratios rightly."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
BENCHMARKS = sorted(path.name for path in FOLDER.glob("[!_]*.py"))


@pytest.fixture
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_harness", FOLDER / "_harness.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_harness"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kind", "ratio"), [("cost", 0.5), ("rate", 2.0)])
def test_below_one_is_better_for_us(harness: ModuleType, kind: str, ratio: float) -> None:
    order: list[str] = []

    def ours() -> float:
        order.append("ours")
        return 10.0

    def theirs() -> float:
        order.append("theirs")
        return 20.0

    cell = harness.compare("case", ours, theirs, "other", "s", kind, 4)
    assert (cell.ours, cell.alternative, cell.ratio, cell.spread) == (10.0, 20.0, ratio, (ratio, ratio))
    assert order[2:] == ["ours", "theirs", "theirs", "ours"] * 2  # after one of each that does not count


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_alone_and_prints_one_object(name: str, tmp_path: Path) -> None:
    if name == "viewer.py" and os.environ.get("CI") != "true" and shutil.which("chromium") is None:
        pytest.skip("no Chromium on this machine: install the package chromium")
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), "--quick", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["name"] == Path(name).stem
    assert found["machine"]["cores"] >= 1
    assert found["cells"]
    for cell in found["cells"]:
        assert {"case", "ours", "alternative", "alternative_name", "unit", "ratio"} <= cell.keys()
        assert cell["ratio"] > 0
