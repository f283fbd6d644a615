"""The command line: one object on stdout for machines, one line on stderr for mistakes, and the exit codes."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from medquorum import __version__, cli
from medquorum.errors import BadInputError, MedquorumError, RefusedError
from medquorum.simulations import run as run_module
from medquorum.simulations.progress import StageFinished, StageStarted
from medquorum.simulations.report import plots


@pytest.fixture
def studies(monkeypatch, make_result, tmp_path):
    """Runs a made result in place of a study; `calls` lists what each run was given, `fault` is raised if set."""

    class Studies:
        calls: ClassVar[list[tuple]] = []
        fault: BaseException | None = None

    def run_study(study, data, out, engine="inprocess", progress=lambda event: None):
        print("a library talks")  # noqa: T201
        warnings.warn("a library warns", RuntimeWarning, stacklevel=1)
        logging.getLogger("library").warning("a library logs")
        logging.getLogger("flwr").warning("flower logs")
        Studies.calls.append((study.name, study.seed, data, out, engine))
        progress(StageStarted("Train", 0))
        progress(StageFinished("Train", 1.0))
        if Studies.fault is not None:
            raise Studies.fault
        return dataclasses.replace(make_result(2, rounds=2), sheet=())

    Studies.calls = []
    monkeypatch.setattr(run_module, "run_study", run_study)
    # Drawing is slow and has tests of its own.
    drawn = io.BytesIO()
    Image.new("RGB", (8, 8)).save(drawn, "PNG")
    monkeypatch.setattr(plots, "draw_all", lambda result: {plot.name: drawn.getvalue() for plot in plots.PLOTS})
    monkeypatch.chdir(tmp_path)
    return Studies


def test_json_prints_one_object_that_is_the_report_and_nothing_else(studies, capsys, tmp_path):
    assert cli.main(["demo", "--json", "--seed", "11", "--out", "here"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads((tmp_path / "here" / "report.json").read_text())
    assert json.loads(shown.out)["command"] == "medquorum demo --seed 11"
    assert "Train: done" in shown.err and "a library talks" in shown.err
    assert "a library logs" not in shown.err and "a library warns" not in shown.err
    assert studies.calls == [("demo", 11, None, Path("here"), "inprocess")]


def test_the_demo_ends_with_commands_and_files_that_exist(studies, capsys, tmp_path):
    assert cli.main(["demo"]) == 0
    shown = capsys.readouterr().out
    after = [line.strip() for line in shown.split("Next\n")[1].splitlines()]
    assert "runs/demo/report.html" in after and "medquorum demo --seed 8" in after
    assert (tmp_path / "runs/demo/report.html").exists()
    assert len(list((tmp_path / "runs/demo/plots").glob("*.png"))) == 6
    for line in after:
        if line.startswith("medquorum"):
            command = line.replace("FOLDER", ".").split()[1:]
            assert cli.main(command) == 0, line
    for line in after:
        if line.startswith("cp "):
            source, _ = line.removeprefix("cp ").split(" && ")[0].split()
            assert Path(source).exists()


def test_a_second_run_gets_a_folder_of_its_own(studies, tmp_path):
    for _ in range(3):
        assert cli.main(["demo", "--json"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["demo", "demo-2", "demo-3"]


def test_a_study_file_is_run_as_given(studies, capsys, tmp_path):
    from medquorum.simulations.study import bundled

    (tmp_path / "my study.toml").write_text(bundled("demo").read_text())
    (tmp_path / "images").mkdir()
    arguments = ["simulate", "run", "my study.toml", "--data", "images", "--engine", "ray", "--json"]
    assert cli.main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["command"] == "medquorum simulate run 'my study.toml' --data images --engine ray"
    assert studies.calls[0][2:] == (Path("images"), Path("runs/demo"), "ray")


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (MedquorumError("the round was lost", where="round 3", fix="run it again"), 1, "round 3: the round was lost. "),
        (BadInputError("no column 'view'", where="a.csv", fix="add it"), 2, "a.csv: no column 'view'. Fix: add it"),
        (RefusedError("epsilon would pass the cap", fix="raise the cap"), 3, "epsilon would pass the cap. Fix: raise"),
        (BadInputError("two\nlines", fix="join them"), 2, "two lines. Fix: join them"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "x.db"), 1, "x.db: No space left on device. Fix: "),
    ],
)
def test_a_fault_is_one_line_and_its_exit_code(studies, capsys, fault, status, said):
    studies.fault = fault
    assert cli.main(["demo", "--json"]) == status
    shown = capsys.readouterr()
    last = shown.err.splitlines()[-1]
    assert shown.out == "" and "Traceback" not in shown.err
    assert last.startswith("error: ") and said in last


def test_logs_and_warnings_go_to_a_file_that_a_fault_points_to(studies, capsys, tmp_path):
    handlers = logging.getLogger().handlers[:]
    studies.fault = MedquorumError("the round was lost", fix="run it again")
    assert cli.main(["demo", "--out", "here"]) == 1
    shown = capsys.readouterr().err
    log = (tmp_path / "here" / "run.log").read_text()
    assert "a library logs" in log and "a library warns" in log and "flower logs" in log
    assert shown.splitlines()[-2:] == ["The run's log: here/run.log", "error: the round was lost. Fix: run it again"]
    assert "flower logs" not in shown
    assert logging.getLogger().handlers == handlers
    assert cli.main(["demo", "--verbose", "--out", "there"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("flower logs") == 1 and "a library logs" in shown


def test_verbose_shows_the_traceback_of_a_mistake_too(studies, capsys):
    studies.fault = BadInputError("no column 'view'", where="a.csv", fix="add it")
    assert cli.main(["demo", "--verbose"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.splitlines()[-1] == "error: a.csv: no column 'view'. Fix: add it"


def test_a_fault_of_ours_says_so_and_keeps_its_traceback_for_its_user_alone(studies, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    studies.fault = KeyError("survivors")
    assert cli.main(["demo"]) == 1
    shown = capsys.readouterr().err
    assert "unexpected KeyError. This is a fault in medquorum, not yours" in shown and "Traceback" not in shown
    (log,) = tmp_path.glob("medquorum-*.log")
    assert str(log) in shown and "KeyError: 'survivors'" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    assert cli.main(["demo", "--verbose"]) == 1
    assert "KeyError: 'survivors'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--sed", "3"], "--sed"),
        (["demo", "--seed", "many"], "--seed"),
        (["demo", "--seed", "-1"], "--seed"),
        (["demonstrate"], "demonstrate"),
        (["simulate", "run"], "STUDY"),
        (["simulate", "run", "absent.toml"], "absent.toml: there is no such study file"),
        (["simulate", "run", "dem"], "did you mean 'demo'"),
        (["simulate", "run", "demo", "--engine", "steam"], "--engine"),
    ],
)
def test_what_cannot_be_understood_is_bad_input(studies, capsys, arguments, said):
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("error: ") and said in line and "Fix: " in line
    assert studies.calls == []


def test_a_missing_extra_is_named_before_anything_runs(studies, capsys, monkeypatch):
    from medquorum.simulations import options

    monkeypatch.setattr(options, "find_spec", lambda name: None if name == "matplotlib" else object())
    assert cli.main(["demo"]) == 1
    assert "not installed: matplotlib. Fix: pip install 'medquorum[simulate]'" in capsys.readouterr().err
    assert studies.calls == []


def test_version_and_help(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"medquorum {__version__}\n"
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(code in shown for code in ("0 done", "1 failure", "2 bad input", "3 refused", "130 interrupted"))
    assert cli.main([]) == 2
    assert "demo" in capsys.readouterr().out


def test_help_answers_without_loading_what_only_a_run_needs():
    heavy = ("torch", "flwr", "matplotlib", "ray", "opacus", "sqlalchemy", "pydicom", "numpy", "jinja2")
    program = (
        "import sys; from medquorum.cli import main; main(['--help']); main(['simulate', 'run', '--help']);"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "medquorum", "demo", "--seed", "x"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stdout == ""
