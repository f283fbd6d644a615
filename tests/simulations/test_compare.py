"""The comparison on tiny phantoms: its cells, its table, and that no cell is run twice or lost."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_study import PICTURES, pictures, tiny

from medquorum.server.errors import QuorumError
from medquorum.simulations.compare import cells, features, running, show
from medquorum.simulations.compare.cells import Cell
from medquorum.simulations.compare.folds import fold_of
from medquorum.simulations.compare.running import Options, compare_cells, private_modes
from medquorum.simulations.data import collect
from medquorum.simulations.errors import StudyError, StudyRefusedError
from medquorum.simulations.resumable.outcomes import Figures, Refusal
from medquorum.simulations.run import run_study

OPTIONS = Options(seeds=2, epsilons=(4.0, 8.0), modes=("local",))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny comparison, the folder it left, and the stages it told of."""
    folder = tmp_path_factory.mktemp("compare")
    events = []
    comparison = compare_cells(tiny(folder), None, folder / "out", OPTIONS, events.append)
    return comparison, folder, events


def row_of(comparison, kind, mode="none", epsilon=None):
    (row,) = [one for one in comparison.rows if (one.kind, one.mode, one.epsilon) == (kind, mode, epsilon)]
    return row


def test_every_way_of_learning_has_its_row(finished):
    comparison, folder, _ = finished
    assert {(row.kind, row.mode, row.epsilon) for row in comparison.rows} == {
        ("pooled", "none", None),
        ("federated", "none", None),
        ("federated", "local", 4.0),
        ("federated", "local", 8.0),
        ("alone", "none", None),
        ("alone", "local", 4.0),
        ("alone", "local", 8.0),
    }
    # Two seeds: one pooled, three federated, and three of each of two hospitals.
    assert len(list((folder / "out" / "cells").iterdir())) == 2 * (1 + 3 + 2 * 3)
    assert comparison.hospitals == ("One | <b>", "Two") and comparison.seeds == (3, 4)
    assert row_of(comparison, "alone").cells == 4 and row_of(comparison, "federated").cells == 2
    assert not (folder / "out" / "work").exists()


def test_figures_follow_from_the_cells(finished):
    comparison, folder, _ = finished
    names = ("One | <b>", "Two")
    for seed in comparison.seeds:
        for cell in cells.cells_of(seed, names, ("local",), (4.0, 8.0)):
            figures = cells.load(cell, folder / "out" / "cells").outcome
            assert isinstance(figures, Figures)
            assert len(figures.own) == (1 if cell.kind == "alone" else 2)
            assert figures.dice is not None and figures.pointing is not None
            if cell.epsilon is None:
                assert figures.epsilon is None and figures.noise_multiplier is None
            else:
                # What the ledger was charged is the epsilon that was asked for, and never more.
                assert 0.97 * cell.epsilon < figures.epsilon <= cell.epsilon
                assert figures.steps == 4
    pooled, together = row_of(comparison, "pooled"), row_of(comparison, "federated")
    assert pooled.gap.value == pooled.gap.low == pooled.gap.high == 0.0
    assert together.gap.value == pytest.approx(pooled.auroc.value - together.auroc.value)
    both = [cells.load(Cell(seed, "federated"), folder / "out" / "cells").outcome for seed in (3, 4)]
    assert together.auroc.value == pytest.approx(np.mean([one.auroc.value for one in both]))
    least = [min(site.auroc.value for site in one.own if site.auroc) for one in both]
    assert together.worst == pytest.approx(np.mean(least)) and together.worst_ever == min(least)
    assert row_of(comparison, "federated", "local", 4.0).noise_multiplier > (
        row_of(comparison, "federated", "local", 8.0).noise_multiplier
    )


def test_no_hospital_trains_alone_where_the_study_says_so(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(running, "_seed", lambda study, seed, wanted, *rest: asked.extend(wanted) or [])
    study = tiny(tmp_path)
    for alone in (True, False):
        asked.clear()
        out = tmp_path / f"out-{alone}"
        out.mkdir()
        one = dataclasses.replace(study, compare=dataclasses.replace(study.compare, alone=alone))
        running._all_cells(one, None, out, OPTIONS, lambda event: None)
        assert {cell.kind for cell in asked} == ({"pooled", "federated", "alone"} if alone else {"pooled", "federated"})


def test_damaged_images_are_counted_and_left_out(finished):
    comparison, _, _ = finished
    assert comparison.left_out > 0
    assert any("left out of every row" in note for note in comparison.notes)
    assert any("data set's own" in note for note in comparison.notes)


def test_asked_again_nothing_is_run_again_and_the_figures_stay(finished, monkeypatch):
    comparison, folder, _ = finished
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "out" / "cells").iterdir()}

    def never(*_):
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(running, "train", never)
    monkeypatch.setattr(features, "open_site", never)
    again = compare_cells(tiny(folder), None, folder / "out", OPTIONS)
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "out" / "cells").iterdir()} == kept
    timeless = [dataclasses.replace(one, seconds=0.0) for one in (comparison, again)]
    assert timeless[0] == timeless[1]


def test_more_seeds_or_epsilons_run_only_what_is_new(finished, monkeypatch):
    _, folder, _ = finished
    run = []
    real = running.train

    def noted(fold, cell, sets, work):
        run.append(cell)
        return real(fold, cell, sets, work)

    monkeypatch.setattr(running, "train", noted)
    options = Options(seeds=2, epsilons=(4.0, 8.0, 16.0), modes=("local",))
    compare_cells(tiny(folder), None, folder / "out", options)
    assert len(run) == 2 * 3 and {cell.epsilon for cell in run} == {16.0}


def test_the_same_seeds_give_the_same_figures(finished):
    comparison, folder, _ = finished
    again = compare_cells(tiny(folder), None, folder / "again", Options(1, (4.0,), ("local",)))
    one = row_of(again, "federated", "local", 4.0)
    first = cells.load(Cell(3, "federated", "local", 4.0), finished[1] / "out" / "cells").outcome
    assert one.auroc.value == first.auroc.value and one.dice.value == first.dice.value
    assert len(comparison.seeds) == 2


def test_a_row_is_tested_on_patients_whom_nothing_was_trained_on(finished):
    _, folder, _ = finished
    study = tiny(folder)
    first = list(collect(study, None, folder / "phantoms", lambda _: None))
    release = running.starting_release(study, folder)
    content = features.data_hash(study, None, first)
    images = features.load_images(study, release, first, content, folder, folder / "work", lambda _: None)
    folds = [fold_of(study, seed, images, first, release) for seed in (3, 4)]
    for fold in folds:
        held = set(fold.patients[fold.test].tolist())
        trained = {int(one) for ward in fold.wards for one in fold.patients[ward.train]}
        assert held and trained and not held & trained
        assert sum(ward.test_patients for ward in fold.wards) == len(held)
        for ward in fold.wards:
            rows = fold.rows(ward)
            assert rows.patient_count == ward.train_patients and len(rows.inputs) == len(ward.train)
            assert (rows.targets.labels.numpy() == fold.truth[ward.train]).all()
            present = rows.targets.labels[:, 0] > 0
            assert (rows.targets.regions[present].sum(dim=(1, 2, 3)) > 0).all()
            assert (rows.targets.regions[~present] == 0).all() and rows.targets.drawn.all()
    assert not np.array_equal(folds[0].test, folds[1].test)


def test_without_noise_the_cells_are_what_a_whole_study_gets(finished):
    """The same hospitals, readers who never err: store, workbench and all, and the ready rows, train the same model."""
    comparison, folder, _ = finished
    study = tiny(
        folder / "study",
        ("epsilon = 6.0", 'mode = "none"\nepsilon = 6.0'),
        ("learning_rate = 0.05", "learning_rate = 0.05\nevaluation_bins = 0"),
    )
    result = run_study(study, None, folder / "whole")
    assert all(site.effort.by_hand_errors == 0 for site in result.sites)
    together, pooled = (cells.load(Cell(3, kind), folder / "out" / "cells").outcome for kind in ("federated", "pooled"))
    assert together.auroc.value == pytest.approx(result.federated.value, abs=1e-9)
    assert pooled.auroc.value == pytest.approx(result.pooled.value, abs=1e-9)
    for site, own in zip(result.sites, together.own, strict=True):
        assert (site.name, site.held_out_patients) == (own.name, own.patients)
        if own.auroc is not None:
            assert own.auroc.value == pytest.approx(site.auroc_after.value, abs=1e-9)
    assert comparison.seeds[0] == result.seed


def test_what_has_too_few_patients_says_refused_and_what_would_work(tmp_path):
    # The larger hospital's ten training patients make a delta of 0.12 too large, the smaller one's do not.
    study = tiny(
        tmp_path,
        ('patients = 12\nvendor = "aurora"', 'patients = 18\nvendor = "aurora"'),
        ("delta = 0.01", "delta = 0.12"),
    )
    comparison = compare_cells(study, None, tmp_path / "out", Options(1, (4.0,), ("local",)))
    row = row_of(comparison, "federated", "local", 4.0)
    assert row.cells == 0 and row.refused == 1 and row.auroc is None
    assert "0.12" in row.reasons[0] and "would do" in row.reasons[0]
    alone = row_of(comparison, "alone", "local", 4.0)
    assert (alone.cells, alone.refused) == (1, 1)
    text = show.markdown(comparison)
    assert "| Federated, local epsilon 4 | refused |" in text
    refused = cells.load(Cell(3, "federated", "local", 4.0), tmp_path / "out" / "cells").outcome
    assert isinstance(refused, Refusal)


def test_settings_of_a_mode_change_its_trainings_alone(finished):
    folder = finished[1] / "settings"
    text = '[compare]\npooled_epochs = 2\n[[compare.settings]]\nmode = "local"\nepsilon = 8.0\nrounds = 3\n'
    study = tiny(folder, ("[compare]\npooled_epochs = 2\n", text))
    comparison = compare_cells(study, None, finished[1] / "out-settings", Options(1, (4.0, 8.0), ("local",)))
    assert row_of(comparison, "federated", "local", 8.0).steps == 6
    assert row_of(comparison, "alone", "local", 8.0).steps == 6
    assert row_of(comparison, "federated", "local", 4.0).steps == row_of(comparison, "federated").steps == 4


@pytest.mark.skipif("distributed" not in private_modes(), reason="this version has no distributed mode")
def test_distributed_makes_the_same_steps_one_a_round(finished):
    study = tiny(finished[1] / "distributed", ("learning_rate = 0.05", "learning_rate = 0.05\nmomentum = 0.5"))
    comparison = compare_cells(study, None, finished[1] / "out-distributed", Options(1, (8.0,), ("distributed",)))
    row = row_of(comparison, "federated", "distributed", 8.0)
    assert row.cells == 1 and row.steps == 4 and 0 < row.epsilon_charged <= 8.0


@pytest.mark.parametrize(
    ("change", "said"),
    [(("rounds = 2", "rounds = 3"), "other settings"), (("seed = 3", "seed = 5"), "other settings")],
)
def test_the_folder_of_another_study_is_refused(finished, tmp_path, change, said):
    _, folder, _ = finished
    with pytest.raises(StudyRefusedError, match=said):
        compare_cells(tiny(tmp_path, change), None, folder / "out", OPTIONS)


def test_what_a_failed_start_left_is_no_hindrance(tmp_path):
    (tmp_path / "out" / "work" / "features").mkdir(parents=True)
    (tmp_path / "out" / "run.log").write_text("a warning")
    with pytest.raises(StudyError, match="a quorum of 3"):
        compare_cells(tiny(tmp_path, ("quorum = 2", "quorum = 3")), None, tmp_path / "out", OPTIONS)
    with pytest.raises(StudyError, match="a quorum of 3"):
        compare_cells(tiny(tmp_path, ("quorum = 2", "quorum = 3")), None, tmp_path / "out", OPTIONS)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(StudyRefusedError, match="something else"):
        compare_cells(tiny(tmp_path), None, tmp_path / "out", OPTIONS)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_a_cell_that_was_changed_by_hand_is_named(finished):
    _, folder, _ = finished
    path = folder / "out" / "cells" / "seed3-pooled.json"
    before = path.read_bytes()
    for broken in (b"{", before.replace(b'"seed": 3', b'"seed": 4'), b'{"seed": 3}'):
        path.write_bytes(broken)
        with pytest.raises(StudyError, match=r"cannot be read back.*Fix: delete the file"):
            compare_cells(tiny(folder), None, folder / "out", OPTIONS)
    path.write_bytes(before)


def test_a_quorum_above_the_hospitals_is_said_before_anything_runs(tmp_path):
    with pytest.raises(StudyError, match="a quorum of 3 out of 2"):
        compare_cells(tiny(tmp_path, ("quorum = 2", "quorum = 3")), None, tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out" / "cells").exists()


PROGRAM = """
import sys
from pathlib import Path
from medquorum.simulations.compare.running import Options, compare_cells
from medquorum.simulations.study import load_study
out = Path(sys.argv[2])
comparison = compare_cells(load_study(Path(sys.argv[1])), None, out, Options(1, (4.0, 8.0), ("local",)))
print(len(comparison.rows))
"""


def test_killed_in_the_middle_and_started_again_no_cell_is_lost_or_run_twice(tmp_path):
    tiny(tmp_path)
    out = tmp_path / "out"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "study.toml"), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and len(list(out.glob("cells/*.json"))) < 4:
            time.sleep(0.005)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    seen = {path.name: path.stat().st_mtime_ns for path in out.glob("cells/*.json")}
    assert 4 <= len(seen) < 10 and (out / "work").exists()
    # What a kill leaves half written is never mistaken for a cell.
    (out / "cells" / ".seed3-alone-site2-none.json.1").write_text("half")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "7"
    now = {path.name: path.stat().st_mtime_ns for path in out.glob("cells/seed*.json")}
    assert len(now) == 10 and seen.items() <= now.items() and not (out / "work").exists()


def test_two_processes_do_not_share_a_folder(finished):
    import fcntl

    _, folder, _ = finished
    with (folder / "out" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StudyRefusedError, match="another process"):
            compare_cells(tiny(folder), None, folder / "out", OPTIONS)


def test_the_manifest_names_versions_data_and_seeds(finished):
    _, folder, _ = finished
    manifest = json.loads((folder / "out" / "manifest.json").read_bytes())
    assert manifest["modes"] == ["local"] and manifest["versions"]["medquorum"]
    assert len(manifest["data_hash"]) == len(manifest["study_hash"]) == 64


def test_a_quorum_that_is_not_reached_is_a_refused_row_and_stops_nothing(tmp_path, monkeypatch):
    real = running.train

    def lost(fold, cell, sets, work):
        if cell.kind == "federated" and cell.mode == "none":
            raise QuorumError("1 of 2 sites answered", fix="wait for the others")
        return real(fold, cell, sets, work)

    monkeypatch.setattr(running, "train", lost)
    comparison = compare_cells(tiny(tmp_path), None, tmp_path / "out", Options(1, (8.0,), ("local",)))
    row = row_of(comparison, "federated")
    assert (row.cells, row.refused) == (0, 1) and "1 of 2 sites answered; wait" in row.reasons[0]
    assert row_of(comparison, "federated", "local", 8.0).cells == 1 and row_of(comparison, "alone").cells == 2


def test_a_seed_whose_division_leaves_one_class_is_refused_and_the_others_are_not(tmp_path):
    data = pictures(tmp_path / "data", patients=24, images=1)
    dirichlet = ('partition = "iid"', 'partition = "dirichlet"\nalpha = 0.6')

    def drawn(seed):
        return tiny(tmp_path, dirichlet, text=PICTURES, seed=seed)

    fit = [seed for seed in range(1, 40) if not isinstance(divided(drawn(seed), data, tmp_path / "x"), Refusal)]
    start = next(seed for seed in fit if seed + 1 not in fit)
    study = drawn(start)
    comparison = compare_cells(study, data, tmp_path / "out", Options(2, (8.0,), ("local",)))
    row = row_of(comparison, "federated", "local", 8.0)
    assert (row.cells, row.refused) == (1, 1) and "alpha" in row.reasons[0]


def divided(study, data, place):
    from medquorum.simulations.gather import gather

    try:
        return gather(study, data, place, lambda _: None)
    except StudyError as error:
        return Refusal(error.what, error.fix)
