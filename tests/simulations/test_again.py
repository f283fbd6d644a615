"""What is done with a finished folder: frames to work on, the notebook that shows them, and the figures once more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_study import PICTURES, STUDY, pictures, tiny

from medquorum import cli
from medquorum.simulations import load_results
from medquorum.simulations.errors import StudyError, StudyRefusedError
from medquorum.simulations.verify.differences import differences
from medquorum.simulations.verify.running import verify

SETTINGS = ("--set", "plan.privacy.epsilon=1,8", "--set", "plan.privacy.delta=0.01,0.3")
NOTEBOOK = Path(__file__).parents[2] / "docs" / "results.ipynb"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A finished run of phantoms, and a comparison and a sweep of pictures, as the commands leave them."""
    place = tmp_path_factory.mktemp("again")
    data = pictures(place / "data")
    picture, phantom = tiny(place / "pictures", text=PICTURES), tiny(place / "phantoms", text=STUDY)
    for words in (
        ["run", str(phantom.file)],
        ["compare", str(picture.file), "--data", str(data), "--seeds", "1", "--epsilon", "8", "--mode", "local"],
        ["sweep", str(picture.file), "--data", str(data), *SETTINGS],
    ):
        assert cli.main(["simulate", *words, "--out", str(place / words[0]), "--json"]) == 0
    return place


def test_a_sweep_becomes_frames(folders):
    found = load_results(folders / "sweep")
    assert found.kind == "sweep" and found.study == "pictures"
    assert list(found.cells["status"]) == ["done", "refused", "done", "refused"]
    assert found.cells["plan.privacy.epsilon"].tolist() == [1, 1, 8, 8]
    assert found.cells.loc[1, "reason"] and np.isnan(found.cells.loc[1, "auroc"])
    assert set(found.sites["cell"]) == {0, 2} and set(found.sites["site"]) == {"North", "South"}
    least = found.sites.groupby("cell")["auroc"].min()
    assert least.loc[2] == found.cells.loc[2, "auroc_own_worst"]
    assert set(found.subgroups["column"]) == {"sex", "age"} and found.rounds.empty
    assert found.calibration.query("cell == 0")["count"].sum() > 0
    assert found.manifest["axes"] == {"plan.privacy.epsilon": [1, 8], "plan.privacy.delta": [0.01, 0.3]}


def test_a_comparison_and_a_run_become_frames(folders):
    found = load_results(str(folders / "compare"))
    assert found.kind == "comparison" and len(found.cells) == 1 + 2 + 2 * 2
    kinds = found.cells.groupby("kind").size().to_dict()
    assert kinds == {"alone": 4, "federated": 2, "pooled": 1}
    assert found.cells.query("kind == 'pooled'")["epsilon"].isna().all()
    run = load_results(folders / "run")
    report = json.loads((folders / "run" / "report.json").read_text())
    assert run.kind == "run" and run.cells.loc[0, "auroc"] == report["federated"]["auroc"]
    assert run.sites["site"].tolist() == [site["name"] for site in report["sites"]]
    assert run.rounds["round"].tolist() == [1, 2] and run.rounds["finding"].unique().tolist() == ["consolidation"]
    assert len(run.manifest["plan"]) == len(run.manifest["data_hash"]) == 64


def test_a_folder_without_results_is_named(folders, tmp_path):
    with pytest.raises(StudyError, match="no finished run"):
        load_results(tmp_path)
    with pytest.raises(StudyError, match="no such folder"):
        load_results(tmp_path / "absent")
    shutil.copytree(folders / "sweep", tmp_path / "broken")
    (tmp_path / "broken" / "sweep.json").write_text("{")
    with pytest.raises(StudyError, match=r"sweep\.json: cannot be read"):
        load_results(tmp_path / "broken")


def test_the_notebook_runs_on_a_finished_sweep(folders, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("MEDQUORUM_RESULTS", str(folders / "sweep"))
    book = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in book.cells if cell.cell_type == "code")
    done = NotebookClient(book, timeout=120, kernel_name="python3").execute()
    shown = [kind for cell in done.cells for one in cell.get("outputs", []) for kind in one.get("data", {})]
    assert "image/png" in shown and "text/html" in shown
    assert "refused" in str(done)


@pytest.mark.parametrize("kind", ["run", pytest.param("compare", marks=pytest.mark.slow), "sweep"])
def test_figures_that_come_again_are_equal(folders, kind, capsys):
    assert cli.main(["simulate", "verify", str(folders / kind)]) == 0
    assert "every figure" in capsys.readouterr().out
    assert not list(folders.glob(".verify-*"))


def test_a_figure_that_differs_is_named_with_both_values(folders, tmp_path, capsys):
    changed = tmp_path / "sweep"
    shutil.copytree(folders / "sweep", changed)
    path = next(one for one in sorted((changed / "cells").glob("*.json")) if '"refused": null' in one.read_text())
    cell = json.loads(path.read_text())
    kept = cell["figures"]["auroc"][0]
    cell["figures"]["auroc"][0] = kept + 1e-6
    path.write_text(json.dumps(cell))
    manifest = json.loads((changed / "manifest.json").read_text())
    manifest["versions"]["torch"] = "1.0"
    manifest["machine"]["threads"] = 64
    (changed / "manifest.json").write_text(json.dumps(manifest))
    assert cli.main(["simulate", "verify", str(changed), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    (one,) = told["differences"]
    assert one["where"] == f"cells/{path.name}.figures.auroc[0]" and one["now"] == repr(kept)
    assert not told["good"] and told["versions"][0][:2] == ["torch", "1.0"] and told["machine"][0][1] == "64"
    assert verify(changed, tolerance=1e-3).good


def test_other_data_or_noise_that_cannot_come_again_are_refused(folders, tmp_path):
    other = pictures(tmp_path / "data", patients=30)
    with pytest.raises(StudyRefusedError, match="not those that the figures came from"):
        verify(folders / "sweep", other)
    with pytest.raises(StudyError, match="no manifest"):
        verify(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "run", "engine": "processes"}))
    with pytest.raises(StudyRefusedError, match="operating system"):
        verify(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "thesis"}))
    with pytest.raises(StudyError, match="'thesis'"):
        verify(tmp_path)


def test_differences_are_found_wherever_they_are():
    kept = {"a": [1, {"b": 2.0}], "timing": 1, "c": None, "d": True}
    assert not list(differences(kept, {**kept, "timing": 2}))
    found = list(differences(kept, {"a": [1, {"b": 2.5}], "c": 0, "d": 1, "e": "x"}))
    assert [one.where for one in found] == ["a[1].b", "c", "d", "e"]
    assert list(differences([1], [1, 2])) and not list(differences(1.0, 1.0 + 1e-9, tolerance=1e-6))
