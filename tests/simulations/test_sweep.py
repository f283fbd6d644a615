"""A sweep on a tiny folder of pictures: its grid, what it says first, and that no cell is run twice or lost."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_study import PICTURES, pictures, tiny

from medquorum import cli
from medquorum.server.errors import QuorumError
from medquorum.simulations import estimate
from medquorum.simulations.errors import StudyError, StudyRefusedError
from medquorum.simulations.resumable.outcomes import Figures, Refusal
from medquorum.simulations.run import run_study
from medquorum.simulations.sweep import document, show, training
from medquorum.simulations.sweep.grid import Cell, plan_cells, read_axes
from medquorum.simulations.sweep.plots import draw_all
from medquorum.simulations.sweep.rows import series_of
from medquorum.simulations.sweep.running import sweep_cells

AXES = ("plan.privacy.epsilon=1,8", "study.seed=1,2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data/ and study.toml."""
    place = tmp_path_factory.mktemp("sweep")
    pictures(place / "data")
    tiny(place, text=PICTURES)
    return place


@pytest.fixture(scope="module")
def finished(folder):
    events = []
    return swept(folder, folder / "out", AXES, progress=events.append), events


def swept(folder, out, axes=AXES, file=None, **more):
    return sweep_cells(file or folder / "study.toml", read_axes(axes), folder / "data", out, **more)


def kept(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "cells").glob("cell-*.json")}


def test_every_combination_has_a_row_with_its_own_plan(finished, folder):
    sweep, _ = finished
    assert [one.cell.identity for one in sweep.cells] == [
        {"plan.privacy.epsilon": epsilon, "study.seed": seed} for epsilon in (1, 8) for seed in (1, 2)
    ]
    outcomes = [one.outcome for one in sweep.cells]
    assert all(isinstance(one, Figures) for one in outcomes)
    assert [0.97 * asked < one.epsilon <= asked for asked, one in zip((1, 1, 8, 8), outcomes, strict=True)] == [
        True
    ] * 4
    assert len({one.plan for one in outcomes}) == 4 and len(kept(folder / "out")) == 4
    assert all(one.sent > 0 and one.calibration and one.steps == 2 for one in outcomes)
    assert {(one.column, one.value) for one in outcomes[0].subgroups} >= {("sex", "F"), ("sex", "M")}
    # Thirty-two ages are cut into thirds.
    assert sum(one.column == "age" for one in outcomes[0].subgroups) == 3
    assert not (folder / "out" / "work").exists()


def test_a_cell_is_what_a_whole_study_gets(finished, folder, tmp_path):
    """Without noise nothing of the road matters: rows that were ready train the model that nodes with stores train."""
    once = swept(folder, tmp_path / "out", ("plan.privacy.mode=none",))
    study = tiny(tmp_path, ("epsilon = 8.0", 'mode = "none"'), text=PICTURES)
    result = run_study(study, folder / "data", tmp_path / "whole")
    found = once.cells[0].outcome
    assert found.auroc.value == pytest.approx(result.federated.value, abs=1e-9)
    for site, own in zip(result.sites, found.own, strict=True):
        assert (site.name, site.held_out_patients) == (own.name, own.patients)


def test_what_it_will_take_is_said_before_anything_is_trained(finished):
    sweep, events = finished
    said = [event.text for event in events if hasattr(event, "text")]
    assert "training + held out" in said[0] and "North" in said[0]
    assert "4 to run" in said[1].replace("\xa0", " ") and "of memory" in said[1]
    names = [getattr(event, "stage", "told") for event in events]
    assert names.index("told") < names.index("Train and score")
    assert sweep.foretold.cells == 4 and sweep.foretold.memory > 1e8 and sweep.foretold.seconds > 0


def test_asked_again_nothing_is_run_again_and_more_values_run_only_what_is_new(finished, folder, monkeypatch):
    sweep, _ = finished
    before = kept(folder / "out")
    real, run = training.run, []
    monkeypatch.setattr(training, "run", lambda job: (run.append(job.cell), real(job)))
    again = swept(folder, folder / "out")
    assert not run and kept(folder / "out") == before and again.cells == sweep.cells
    more = swept(folder, folder / "out", ("plan.privacy.epsilon=1,4,8", "study.seed=1,2"))
    assert [cell.identity["plan.privacy.epsilon"] for cell in run] == [4, 4]
    assert before.items() <= kept(folder / "out").items() and len(more.cells) == 6


def test_the_tables_hold_a_row_for_each_cell(finished):
    sweep, _ = finished
    rows = list(csv.DictReader(io.StringIO(document.table(sweep))))
    assert [row["status"] for row in rows] == ["done"] * 4
    told = json.loads(document.dump(sweep, "medquorum"))
    for row, cell, one in zip(rows, told["cells"], sweep.cells, strict=True):
        assert float(row["auroc"]) == cell["auroc"] == one.outcome.auroc.value
        assert row["worst_site"] in ("North", "South") and int(row["bytes_sent"]) == one.outcome.sent
        assert [site["site"] for site in cell["sites"]] == ["North", "South"]
    first, second = series_of(sweep)
    assert (first.label, len(first.done)) == ("epsilon 1", 2) and second.epsilon == 8
    least = [min(site.auroc.value for site in one.own) for one in first.done]
    assert first.worst.value == pytest.approx(sum(least) / 2) and first.worst.low == min(least)
    assert "| epsilon 8 | 2 |" in show.markdown(sweep)


def test_every_question_has_its_plot(folder, finished, tmp_path):
    sweep, _ = finished
    assert draw_all(sweep).keys() == {"epsilon", "sites", "subgroups", "calibration", "cost"}
    learned = swept(folder, tmp_path / "out", ("sites.train_share=0.5,1",))
    assert draw_all(learned).keys() == {"learning", "sites", "subgroups", "calibration", "cost"}
    half, whole = learned.cells[0].outcome, learned.cells[-1].outcome
    assert half.train_patients < whole.train_patients and half.test_patients == whole.test_patients


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (["plan.epsilon=1,3"], "no key 'plan.epsilon'. Fix: did you mean plan.privacy.epsilon"),
        (["plan.privacy.epsilonn=1"], "did you mean plan.privacy.epsilon"),
        (["model.backbnoe=small"], "model.backbone"),
        (["plan=3"], "no key 'plan'"),
        (["plan.rounds.x=3"], "no key 'plan.rounds.x'"),
        (["plan.rounds=2,-1"], "-1 is not a whole number"),
        (["model.backbone=small,resnet"], "'resnet' is not known"),
        (["plan.rounds"], "sets nothing"),
        (["plan.rounds=1", "plan.rounds=2"], "set twice"),
        (["plan.rounds=1,2,1"], "has 1 twice"),
        (["study.seed=9..3"], "smaller number first"),
        (["study.seed=1..200", "plan.rounds=1..200"], "40,000 cells"),
    ],
)
def test_what_cannot_be_swept_is_said_before_anything_runs(folder, tmp_path, capsys, axes, said):
    words = [word for axis in axes for word in ("--set", axis)]
    out = tmp_path / "out"
    data = ["--data", str(folder / "data")]
    assert cli.main(["simulate", "sweep", str(folder / "study.toml"), *words, *data, "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert said in shown.err.splitlines()[-1] and shown.out == "" and not out.exists()


def test_values_are_toml_bare_words_or_ranges():
    (one,) = read_axes(["a.b=[4, 3],[1, 1]"])
    assert one.key == "a.b" and one.values == ([4, 3], [1, 1])
    (one,) = read_axes(["model.backbone = small, efficientnet_lite0"])
    assert one.values == ("small", "efficientnet_lite0")
    assert read_axes(["x=true,2.5,'a b'"])[0].values == (True, 2.5, "a b")
    assert read_axes(["x=3..5"])[0].values == (3, 4, 5)
    assert read_axes(["x=2020-01-02"])[0].values == ("2020-01-02",)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc.", min_size=1, max_size=5), st.one_of(st.integers(), st.text(), st.booleans())))
def test_cells_have_names_of_their_own_that_are_files(values):
    cell = Cell(tuple(values.items()))
    assert cell.name.replace("-", "").isalnum() and len(cell.name) < 40
    assert cell.name == Cell(tuple(reversed(values.items()))).name
    assert cell.name != Cell((*values.items(), ("more", 1))).name


def test_values_that_do_not_go_together_are_refused_cells_and_the_others_run(folder, tmp_path):
    study = tiny(tmp_path, ("quorum = 2", "quorum = 2\nlocal_steps = 2"), text=PICTURES)
    axes = ("plan.local_steps=1,2", "plan.privacy.mode=local,distributed")
    sweep = swept(folder, tmp_path / "out", axes, study.file)
    outcomes = {tuple(one.cell.identity.values()): one.outcome for one in sweep.cells}
    assert isinstance(outcomes[2, "distributed"], Refusal)
    assert all(isinstance(found, Figures) for key, found in outcomes.items() if key != (2, "distributed"))
    rows = list(csv.DictReader(io.StringIO(document.table(sweep))))
    assert [row["status"] for row in rows] == ["done", "done", "done", "refused"] and rows[3]["reason"]
    assert any("refused" in note for note in show.notes(sweep))


def test_a_division_or_a_budget_that_cannot_be_is_a_refused_cell(folder, tmp_path):
    study = tiny(tmp_path, ('partition = "iid"', 'partition = "dirichlet"'), text=PICTURES)
    axes = ("sites.alpha=0.01,1000", "plan.privacy.delta=0.01,0.5")
    sweep = swept(folder, tmp_path / "out", axes, study.file)
    by = {tuple(one.cell.identity.values()): one.outcome for one in sweep.cells}
    assert "the partition leaves" in by[0.01, 0.01].reason and "alpha" in by[0.01, 0.01].fix
    assert isinstance(by[1000, 0.5], Refusal) and isinstance(by[1000, 0.01], Figures)
    with pytest.raises(StudyError, match="the partition leaves"):
        swept(folder, tmp_path / "none", ("sites.alpha=0.01", "study.seed=1,2"), study.file)


def test_a_quorum_that_is_lost_is_a_row_and_stops_nothing(folder, tmp_path, monkeypatch):
    from medquorum.simulations.compare import running

    real = running.train

    def lost(fold, cell, sets, work):
        if fold.study.plan.rounds == 1:
            raise QuorumError("1 of 2 sites answered", fix="wait for the others")
        return real(fold, cell, sets, work)

    monkeypatch.setattr(running, "train", lost)
    sweep = swept(folder, tmp_path / "out", ("plan.rounds=1,2",))
    assert sweep.cells[0].outcome == Refusal("1 of 2 sites answered", "wait for the others")
    assert isinstance(sweep.cells[1].outcome, Figures)


def test_the_folder_of_another_study_or_of_other_data_is_refused(finished, folder, tmp_path):
    other = tiny(tmp_path, ("learning_rate = 0.5", "learning_rate = 0.4"), text=PICTURES)
    with pytest.raises(StudyRefusedError, match="other settings"):
        swept(folder, folder / "out", file=other.file)
    table = folder / "data" / "labels.csv"
    before = table.read_text()
    table.write_text(before.replace("p000,0,F", "p000,0,M"))
    try:
        with pytest.raises(StudyRefusedError, match="table changed"):
            swept(folder, folder / "out")
    finally:
        table.write_text(before)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(StudyRefusedError, match="something else"):
        swept(folder, tmp_path / "mine")


def test_more_jobs_than_memory_are_refused_with_how_many_fit(folder, tmp_path, monkeypatch):
    free, need = estimate.free_memory(), estimate.memory_of
    # Others on the machine take and give memory meanwhile.
    monkeypatch.setattr(estimate, "free_memory", lambda: free)
    monkeypatch.setattr(estimate, "memory_of", lambda *given: max(need(*given), free // 3 + 1))
    with pytest.raises(StudyRefusedError, match="give --jobs 2"):
        swept(folder, tmp_path / "out", jobs=4)
    assert not kept(tmp_path / "out")


TWELVE = ("plan.privacy.epsilon=1,3,8", "plan.rounds=1,2", "study.seed=1,2")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_twelve_cells_killed_in_the_middle_and_resumed_none_twice_none_lost(folder, tmp_path, jobs):
    out = tmp_path / "out"
    words = [word for axis in TWELVE for word in ("--set", axis)]
    command = [sys.executable, "-m", "medquorum", "simulate", "sweep", str(folder / "study.toml"), *words]
    command += ["--data", str(folder / "data"), "--out", str(out), "--jobs", str(jobs), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and len(kept(out)) < 4:
            time.sleep(0.005)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()  # ends only when its workers, who hold the same pipes, are gone too
    seen = kept(out)
    assert 4 <= len(seen) < 12
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["cells"]) == 12 and {cell["status"] for cell in told["cells"]} == {"done"}
    assert seen.items() <= kept(out).items() and len(kept(out)) == 12
    assert told["timing"]["cells_run"] == 12 - len(seen)
    assert f"{len(seen)} finished before" in done.stderr and not (out / "work").exists()


def test_planning_reads_every_combination_in_order(folder):
    planned = plan_cells(folder / "study.toml", read_axes(["plan.rounds=1,2", "model.size=32,48"]))
    assert [(one.study.plan.rounds, one.study.model.transform.size) for one in planned] == [
        (1, 32),
        (1, 48),
        (2, 32),
        (2, 48),
    ]
