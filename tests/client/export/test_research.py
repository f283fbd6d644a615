"""Tables for researchers: masks as COCO counts them, cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import json

import numpy as np
from exports import COLUMNS, MODEL, NODULE, READER, ROWS, make_mask, make_result, make_row
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.client.annotations import Box, Region
from medquorum.client.export.research import coco, run_lengths, write_research
from medquorum.client.export.results import Place, Said
from medquorum.task import Finding


def decoded(counts, rows, columns):
    flat = np.concatenate([np.full(count, index % 2, np.bool_) for index, count in enumerate(counts)])
    return flat.reshape(columns, rows).T


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_run_lengths_say_the_mask(rows, columns, seed):
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.5
    counts = run_lengths(mask)
    assert sum(counts) == mask.size
    assert np.array_equal(decoded(counts, rows, columns), mask)


def test_coco_holds_boxes_masks_and_findings():
    made = json.loads(json.dumps(coco([make_result(MODEL), make_result(READER)])))
    assert [image["observer"] for image in made["images"]] == ["model", "reader 1"]
    assert made["images"][0]["findings"][0] == {
        "category_id": 1,
        "state": "present",
        "probability": 0.75,
        "accepted": "",
    }
    box, mask = made["annotations"][:2]
    assert (box["bbox"], box["area"], box["iscrowd"]) == ([1.25, 2.0, 8.75, 18.5], 161.875, 0)
    assert mask["segmentation"]["size"] == [ROWS, COLUMNS] and mask["area"] == 22 and mask["bbox"] == [7, 3, 13, 10]
    assert np.array_equal(decoded(mask["segmentation"]["counts"], ROWS, COLUMNS), make_mask().array())
    assert [category["name"] for category in made["categories"]] == ["Nodule", "Pleural effusion"]


def test_a_meaning_is_never_a_formula(tmp_path):
    odd = Finding("odd", "SCT", "1", '=HYPERLINK("x")')
    result = make_result(said=(Said(odd, "present"), Said(NODULE, "absent")))
    write_research(tmp_path / "out", "csv", [result], findings=True, regions=False)
    with (tmp_path / "out" / "findings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["meaning"] for row in rows] == ['\'=HYPERLINK("x")', "Nodule"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["NOTICE.txt", "findings.csv"]


def test_tables_and_categories_name_the_side(tmp_path):
    left, right = Finding("effusion", "SCT", "60046008", "Pleural effusion").of_sides(["L", "R"])
    place = Place(left, Region(left.key, Box(1, 2, 3, 5), "drawn"))
    result = make_result(
        said=(Said(left, "present"), Said(right, "absent")), places=(place,), instance=make_row(laterality="B")
    )
    write_research(tmp_path / "out", "csv", [result], findings=True, regions=True)
    for name, told in (("findings", ["L", "R"]), ("regions", ["L"])):
        with (tmp_path / "out" / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["side"] for row in rows] == told
        assert {row["laterality"] for row in rows} == {"B"} and rows[0]["finding"] == "effusion_left"
    made = coco([result])
    assert [(one["name"], one["side"], one["code"]) for one in made["categories"]] == [
        ("Pleural effusion, left", "L", "60046008"),
        ("Pleural effusion, right", "R", "60046008"),
    ]
    assert [one["category_id"] for one in made["annotations"]] == [1]
    assert [one["category_id"] for one in made["images"][0]["findings"]] == [1, 2]
