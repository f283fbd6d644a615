"""The command line with nothing replaced: a small study from its file to its report, twice, and one interrupted."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from medquorum.simulations.report import load
from medquorum.simulations.study import bundled

pytestmark = pytest.mark.slow


@pytest.fixture
def small(tmp_path):
    """The demo with 14 patients a hospital, a small network and two rounds."""
    text = re.sub(r"(?m)^max_noise_multiplier.*\n", "", bundled("demo").read_text())
    for pattern, instead in (
        (r"patients = \d+", "patients = 14"),
        (r"(?m)^held_out = [\d.]+", "held_out = 0.3\none_class = true"),  # so few may all be healthy
        (r"(?m)^size = \d+", "size = 48"),
        (r"(?m)^rounds = \d+", "rounds = 2"),
        (r'backbone = "\w+"', 'backbone = "small"'),
        (r"(?m)^delta = [\d.e-]+", "delta = 0.01\nmax_noise_multiplier = 100.0"),
    ):
        text, count = re.subn(pattern, instead, text)
        assert count, pattern
    path = tmp_path / "small.toml"
    path.write_text(text)
    return path


def command(*arguments):
    return [sys.executable, "-m", "medquorum", "simulate", "run", *map(str, arguments)]


def test_a_study_from_its_file_to_its_report_gives_the_same_figures_twice(small, tmp_path):
    documents = []
    for name in ("one", "two"):
        out = tmp_path / name
        done = subprocess.run(command(small, "--out", out, "--json"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == (out / "report.json").read_text()
        assert load(out / "report.json").result.sites[0].train_patients > 0
        documents.append(json.loads(done.stdout))
    first, second = documents
    assert first["figures"] == second["figures"]
    assert {key for key in first if first[key] != second[key]} == {"timing"}
    again = subprocess.run(command(small, "--out", tmp_path / "one"), capture_output=True, text=True, check=False)
    assert again.returncode == 3 and "the folder holds a run already" in again.stderr.splitlines()[-1]


def test_an_interrupt_ends_a_run_with_its_own_exit_code_and_one_line(small, tmp_path):
    with subprocess.Popen(
        command(small, "--out", tmp_path / "out"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it runs in the background with interrupts ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:
        said = []
        for line in running.stderr:
            said.append(line)
            if "Import into" in line:
                running.send_signal(signal.SIGINT)
        status = running.wait(timeout=60)
    assert status == 130
    assert said[-1] == "error: interrupted\n" and "Traceback" not in "".join(said)
