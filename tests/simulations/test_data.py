"""A study's data: tables read strictly, patients never at two hospitals, truth kept apart from the node."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medquorum.simulations.data import collect, state_of
from medquorum.simulations.errors import StudyError
from medquorum.simulations.study import STUDIES, load_study
from medquorum.simulations.terms import LabelRule

STUDY = """
[study]
name = "small"
seed = 4
[data]
kind = "table"
csv = "labels.csv"
[data.columns]
file = "path"
patient = "person"
site = "place"
mask = "lesion"
[sites]
partition = "column"
[task]
modality = "MR"
[[task.findings]]
key = "tumor"
scheme = "SCT"
code = "126952004"
meaning = "Neoplasm of brain"
column = "state"
present = ["yes"]
absent = ["no"]
[model]
size = 64
[plan]
quorum = 2
[plan.privacy]
"""
HEADER = ["path", "person", "place", "state", "lesion"]


@pytest.fixture
def folder(tmp_path):
    """A data folder with a study beside it; returns a function that writes the table and collects."""
    images = tmp_path / "data"
    images.mkdir()
    study = tmp_path / "study.toml"
    study.write_text(STUDY, encoding="utf-8")

    def write(rows, header=HEADER, text=STUDY):
        study.write_text(text, encoding="utf-8")
        with (images / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerows([header, *rows])
        for row in rows:
            for name in (row[0], row[4] if len(row) > 4 else ""):
                if name.endswith(".png") and not name.startswith(("absent", "..")):
                    Image.fromarray(np.full((8, 6), 200, np.uint8)).save(images / name)
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        return collect(load_study(study), images, out, lambda _: None)

    return write


def rows(count=6):
    return [
        [f"{n}.png", f"p{n // 2}", "AB"[n % 4 // 2], ["yes", "no"][n % 2], "m.png" if n % 2 == 0 else ""]
        for n in range(count)
    ]


def test_rows_become_hospitals_with_their_truth(folder):
    first, second = folder(rows(8))
    assert (first.name, second.name) == ("A", "B")
    assert set(first.truths) == {"0.png", "1.png", "4.png", "5.png"}
    truth = first.truths["0.png"]
    assert truth.present == (True,) and truth.patient == "p0"
    mask = truth.mask_of(0)
    assert mask is not None and mask.shape == (8, 6) and mask.all()
    assert first.truths["1.png"].mask_of(0) is None
    assert first.labels() == {"p0": (True,), "p2": (True,)}
    assert first.table is not None
    assert first.table.read_text().splitlines()[:2] == ["file,patient", "0.png,p0"]  # no label reaches the node


def test_named_sites_leave_the_others_out(folder):
    text = STUDY.replace('partition = "column"', 'partition = "column"\nnames = ["B"]')
    assert [one.name for one in folder(rows(8), text=text)] == ["B"]
    with pytest.raises(StudyError, match="no row is of site 'C'"):
        folder(rows(8), text=text.replace('["B"]', '["C"]'))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda r: r[2].__setitem__(3, "maybe"),
            ("row 4", "'maybe' is outside the labels of 'tumor'", "present or absent"),
        ),
        (lambda r: r[1].__setitem__(2, "B"), ("row 3 is at 'B'", "row 2", "'A'", "one site")),
        (lambda r: r[1].__setitem__(0, "0.png"), ("row 3 names '0.png', as row 2",)),
        (lambda r: r[3].__setitem__(1, " "), ("row 5 has no patient", "'person'")),
        (lambda r: r[3].__setitem__(0, "absent.png"), ("row 5", "'path'", "no file 'absent.png'")),
        (lambda r: r[3].__setitem__(0, "../up.png"), ("row 5", "leaves the folder")),
        (lambda r: r[3].__setitem__(0, "labels.csv"), ("row 5", "neither PNG nor JPEG")),
    ],
)
def test_a_bad_cell_is_one_line_with_its_row(folder, change, said):
    bad = rows()
    change(bad)
    with pytest.raises(StudyError) as caught:
        folder(bad)
    line = str(caught.value)
    assert "labels.csv" in line and "\n" not in line and "Fix: " in line
    for part in said:
        assert part in line


@pytest.mark.parametrize("column", HEADER)
def test_a_missing_column_is_named_with_the_nearest(folder, column):
    header = [f"{name}s" if name == column else name for name in HEADER]
    with pytest.raises(StudyError, match=rf"no column '{column}'.*did you mean '{column}s'"):
        folder(rows(), header=header)


def test_no_table_no_folder_and_no_rows_are_said(folder, tmp_path):
    with pytest.raises(StudyError, match="no rows"):
        folder([])
    study = load_study(tmp_path / "study.toml")
    with pytest.raises(StudyError, match="add --data"):
        collect(study, None, tmp_path / "out", lambda _: None)
    with pytest.raises(StudyError, match="no such table"):
        collect(study, tmp_path / "elsewhere", tmp_path / "out", lambda _: None)


def test_cells_with_several_values_and_empty_ones():
    rule = LabelRule("finding", ("Effusion", "Mass"), ("*",), "|")
    assert state_of("Nodule|Effusion", rule) is True
    assert state_of("Nodule", rule) is False
    assert state_of(" ", rule) is None
    with pytest.raises(KeyError):
        state_of("Nodule", LabelRule("finding", ("Effusion",), ("No Finding",), "|"))


def test_phantom_truth_stays_outside_the_folder_that_the_node_imports(tmp_path):
    text = (STUDIES / "demo.toml").read_text(encoding="utf-8")
    path = tmp_path / "study.toml"
    path.write_text(text.replace("patients = 1", "patients = 4 #"), encoding="utf-8")
    hospitals = collect(load_study(path), None, tmp_path / "out", lambda _: None)
    assert len(hospitals) == 4
    for one in hospitals:
        found = {str(file.relative_to(one.folder)) for file in one.folder.rglob("*") if file.is_file()}
        assert {file for file in found if not file.startswith("damaged")} == set(one.truths)
        for truth in one.truths.values():
            for index, state in enumerate(truth.present):
                mask = truth.mask_of(index)
                assert (mask is not None) == bool(state)


@pytest.mark.parametrize("name", ["cxr_adult", "cxr_pediatric", "mri_brain_lesion"])
def test_the_real_sets_divide_as_their_studies_say(name, tmp_path):
    data = Path(__file__).resolve().parents[3] / "shared" / "data" / name
    if not data.is_dir():
        pytest.skip(f"the real data of {name} is not on this machine")
    hospitals = collect(load_study(STUDIES / f"{name}.toml"), data, tmp_path, lambda _: None)
    assert len(hospitals) >= 3
    patients = [set(one.labels()) for one in hospitals]
    assert sum(map(len, patients)) == len(set().union(*patients))
