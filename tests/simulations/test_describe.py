"""What is said of a study before it runs: who is at which hospital, and what cannot work."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from tiny_study import PICTURES, pictures, tiny

from medquorum import cli
from medquorum.simulations import estimate, gather, look
from medquorum.simulations.errors import StudyError, StudyRefusedError
from medquorum.simulations.run import run_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures") / "data")


def divided(study, data, out):
    return gather.gather(study, data, out, lambda _: None)


LOOK = ('partition = "iid"', 'partition = "look"\nlook = "noise"')


def test_an_unreadable_image_counts_for_nothing_and_its_patient_for_the_middle(tmp_path):
    Image.fromarray(np.full((8, 8), 51, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    Image.fromarray(np.full((8, 8), 153, np.uint8)).save(tmp_path / "c.png")
    files = [("one", tmp_path / "a.png"), ("one", tmp_path / "b.png"), ("two", tmp_path / "b.png")]
    found = look.patient_looks([*files, ("three", tmp_path / "c.png")], "intensity")
    assert found == {"one": pytest.approx(0.2), "two": pytest.approx(0.4), "three": pytest.approx(0.6)}


def test_hospitals_by_look_differ_in_it_and_share_no_patient(folder, tmp_path):
    hospitals, division = divided(tiny(tmp_path, LOOK, text=PICTURES), folder, tmp_path / "out")
    one, two = (set(hospital.labels()) for hospital in hospitals)
    assert len(one) == len(two) == 16 and not one & two
    assert one == {f"p{n:03}" for n in range(16)}  # the folder's noise rises with the patient's number
    assert 2 * division.sites[0].look < division.sites[1].look
    assert "noise" in division.how and division.look.startswith("noise")


def test_the_division_is_what_training_uses(folder, tmp_path):
    study = tiny(tmp_path, ("nominal_rounding = 2", "nominal_rounding = 2\ntrain_share = 0.5"), text=PICTURES)
    events = []
    result = run_study(study, folder, tmp_path / "out", progress=events.append)
    kept = json.loads((tmp_path / "out" / "partition.json").read_text())
    for site, said in zip(result.sites, kept["sites"], strict=True):
        assert (site.name, site.train_patients, site.held_out_patients) == (
            said["site"],
            said["train_patients"],
            said["held_out_patients"],
        )
        assert said["aside_patients"] > 0
        assert site.patients + said["aside_patients"] == 16
    (told,) = [event.text for event in events if hasattr(event, "text")]
    assert "North" in told and "11" not in told.splitlines()[2]  # eleven would be trained on without the share
    assert Image.open(tmp_path / "out" / "plots" / "partition.png").width > 600


@pytest.mark.parametrize("kind", ["train", "held_out"])
def test_a_site_with_one_class_is_refused_before_anything_is_imported(tmp_path, kind):
    data = pictures(tmp_path / "data")
    rows = list(csv.DictReader(io.StringIO((data / "labels.csv").read_text())))
    # The first sixteen are one hospital by their noise; with one positive patient a side is left without.
    for row in rows:
        number = int(row["patient_id"][1:])
        row["spot"] = "1" if number >= 16 and number % 2 else "0" if number != 3 or kind == "train" else "1"
    with (data / "labels.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    study = tiny(tmp_path, LOOK, text=PICTURES)
    with pytest.raises(StudyError, match=r"leaves 'North' no image with 'spot'.*one_class = true"):
        run_study(study, data, tmp_path / "out")
    assert not (tmp_path / "out" / "nodes").exists()
    allowed = tiny(tmp_path, LOOK, ("nominal_rounding = 2", "nominal_rounding = 2\none_class = true"), text=PICTURES)
    assert divided(allowed, data, tmp_path / "again")[1].patients == 32


def test_a_study_larger_than_memory_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "free_memory", lambda: 2_000_000_000)
    study = tiny(tmp_path, ("patients = 12", "patients = 99_999"), ("size = 32", "size = 256"))
    with pytest.raises(StudyRefusedError, match=r"at least .* of memory, and 2\.0.GB is free.*model\.size"):
        run_study(study, None, tmp_path / "out")
    assert not (tmp_path / "out" / "data").exists()
    assert divided(tiny(tmp_path), None, tmp_path / "small")[1].images > 24


def test_jobs_that_do_not_fit_together_are_told_how_many_do(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "free_memory", lambda: 2_000)
    with pytest.raises(StudyRefusedError, match="Fix: give --jobs 2"):
        estimate.require_memory(tiny(tmp_path), 900, jobs=4)
    estimate.require_memory(tiny(tmp_path), 900, jobs=2)
    assert estimate.free_memory() == 2_000


def test_the_command_prints_the_table_or_one_object(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny(tmp_path, ('partition = "iid"', 'partition = "sizes"\nsizes = [3, 1]'), text=PICTURES)
    words = ["simulate", "describe", "study.toml", "--data", str(folder), "--out", "here"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "in the proportions 3, 1" in shown and "here/plots/partition.png" in shown
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "here" / "partition.json").read_text())
    assert [site["train_patients"] + site["held_out_patients"] for site in found["sites"]] == [24, 8]
    with (tmp_path / "here" / "partition.csv").open() as handle:
        assert [row["site"] for row in csv.DictReader(handle)] == ["North", "South"]


def test_describing_a_study_without_its_folder_names_the_option(tmp_path, capsys):
    tiny(tmp_path, text=PICTURES)
    assert cli.main(["simulate", "describe", str(tmp_path / "study.toml")]) == 2
    assert "add --data" in capsys.readouterr().err


def test_a_subgroup_column_that_is_not_there_is_named(folder, tmp_path):
    study = tiny(tmp_path, ('"sex", "age"', '"sexe"'), text=PICTURES)
    with pytest.raises(StudyError, match=r"no column 'sexe'.*did you mean 'sex'"):
        divided(study, folder, tmp_path / "out")
