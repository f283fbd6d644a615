"""Studies whose findings have sides: from the file through labels, training and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dicom_files import dicom
from tiny_study import PICTURES, tiny

from medquorum.client.node import Node
from medquorum.models import checkpoint
from medquorum.simulations.compare.features import Images, Picture
from medquorum.simulations.compare.folds import fold_of
from medquorum.simulations.data import collect
from medquorum.simulations.run import run_study
from medquorum.simulations.sites import open_site

SIDED = (
    (
        "prevalence = { consolidation = 0.5 }",
        "prevalence = { nodule = 0.5, effusion_left = 0.5, effusion_right = 0.5 }",
    ),
    (
        'key = "consolidation"\nscheme = "SCT"\ncode = "95436008"\nmeaning = "Lung consolidation"',
        'key = "nodule"\nscheme = "SCT"\ncode = "27925004"\nmeaning = "Nodule"\n'
        '[[task.findings]]\nkey = "effusion"\nscheme = "SCT"\ncode = "60046008"\nmeaning = "Pleural effusion"\n'
        'sides = ["L", "R"]',
    ),
    ("quorum = 2", "quorum = 2\naugmentation = true"),
    ("patients = 12", "patients = 8"),
    ("damaged = 0.1", "damaged = 0.0"),
    ("pooled_epochs = 2", "alone = false\npooled = false"),
)


def test_two_findings_of_which_one_has_sides_run_through(tmp_path: Path) -> None:
    result = run_study(tiny(tmp_path, *SIDED), None, tmp_path / "out")
    keys = ("nodule", "effusion_left", "effusion_right")
    assert result.findings == keys
    release = checkpoint.load(tmp_path / "out" / "release")
    assert [one.laterality for one in release.card.task.findings] == ["", "L", "R"]
    assert release.hash.hex() == result.release
    for site in result.sites:
        assert len(site.prevalence) == 3 and site.effort.label_errors == 0
        with Node.open(tmp_path / "out" / "nodes" / site.name) as node:
            for annotation in node.store.current_annotations().values():
                assert tuple(key for key, _ in annotation.states) == keys
                # Nobody draws the left effusion where the right one is: the patient's left is at the image's right.
                for region in annotation.regions:
                    if region.finding != "nodule" and region.origin == "drawn":
                        pixels = region.shape.array()  # pyright: ignore[reportAttributeAccessIssue]  readers draw masks
                        across = np.nonzero(pixels)[1].mean() / pixels.shape[1]
                        assert (across > 0.5) == (region.finding == "effusion_left")


def test_a_film_of_one_side_has_no_truth_about_the_other(tmp_path: Path) -> None:
    """As of breasts or hands: every file says its side, and the table says something of both."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = ["file,patient_id,left,right"]
    for number in range(24):
        side = "LR"[number % 2]
        pixels = np.full((40, 48), 100 * number, np.uint16)
        content = dicom(pixels, number, PatientID=f"p{number // 2}", ImageLaterality=side)
        (folder / f"{number}.dcm").write_bytes(content)
        lines.append(f"{number}.dcm,p{number // 2},{number // 2 % 2},{number // 4 % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    spot = 'key = "spot"\nscheme = "SCT"\ncode = "263654008"\nmeaning = "Abnormal"\ncolumn = "spot"\n'
    said = 'present = ["1"]\nabsent = ["0"]\n'
    sides = [
        spot.replace('column = "spot"', f'sides = ["{side}"]\ncolumn = "{word}"') + said
        for side, word in (("L", "left"), ("R", "right"))
    ]
    study = tiny(
        tmp_path,
        ('kind = "table"', 'kind = "dicom"'),
        ('subgroups = ["sex", "age"]', ""),
        (spot + said, sides[0] + "[[task.findings]]\n" + sides[1]),
        text=PICTURES,
    )
    assert study.task.keys == ("spot_left", "spot_right")
    hospitals = collect(study, folder, tmp_path / "sites", lambda _: None)
    hospital = hospitals[0]
    site = open_site(study, hospital, 0, tmp_path / "node", 2, lambda _: None)
    try:
        assert {case.row.laterality for case in site.cases} == {"L", "R"}
        for case in site.cases:
            told = hospital.truths[case.row.source].present
            left, right = case.truth.present
            assert (left, right) == ((told[0], None) if case.row.laterality == "L" else (None, told[1]))
    finally:
        site.close()
    # A comparison, which looks at every image once for all its trainings, knows it as well.
    pictures = tuple(Picture(f"{number}.dcm", 40, 48, "LR"[number % 2]) for number in range(24))
    images = Images(pictures, np.zeros((24, 1, 32, 32), np.float32), (2, 2), (), False)
    fold = fold_of(study, 1, images, hospitals, study.model.release(study.task, 1))
    assert np.isnan(fold.truth[0::2, 1]).all() and np.isnan(fold.truth[1::2, 0]).all()
    assert not np.isnan(fold.truth[0::2, 0]).any() and not np.isnan(fold.truth[1::2, 1]).any()
