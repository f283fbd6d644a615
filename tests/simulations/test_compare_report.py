"""A comparison's table, plots and page, from figures made by hand; and the command's mistakes, each one line."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import pytest
from PIL import Image
from rich.console import Console

from medquorum import cli
from medquorum.simulations.compare import document, plots, report, show
from medquorum.simulations.compare.rows import Comparison, Row, SiteRow
from medquorum.simulations.results import Estimate

NAMES = ("Ash | <i>grove</i>", "Birch", "Cedar")


def row(kind, mode="none", epsilon=None, value=0.8, *, refused=0, cells=2, dice=None):
    auroc = Estimate(value, value - 0.04, value + 0.03) if cells else None
    return Row(
        kind=kind,
        mode=mode,
        epsilon=epsilon,
        cells=cells,
        refused=refused,
        reasons=("delta 0.1 is not below 1/20; choose a delta below 0.05",) if refused else (),
        auroc=auroc,
        by_finding=(value,) if cells else (),
        spread=0.01 if cells else None,
        gap=Estimate(0.85 - value, 0.83 - value, 0.88 - value) if cells else None,
        own=value - 0.01 if cells else None,
        worst=value - 0.05 if cells else None,
        worst_ever=value - 0.08 if cells else None,
        calibration_error=0.051 if cells else None,
        dice=dice,
        pointing=dice,
        epsilon_charged=epsilon,
        noise_multiplier=None if epsilon is None else 10.0 / epsilon,
        steps=0 if kind == "pooled" else 16,
        seconds=1.5,
        sites=tuple(SiteRow(name, value, value - 0.05) for name in NAMES) if cells else (),
    )


def comparison(*, dice=None, refused=False):
    rows = [
        row("pooled", value=0.85, dice=dice),
        row("federated", value=0.84, dice=dice),
        *(
            row("federated", mode, e, 0.80 + e / 250, dice=dice)
            for mode in ("distributed", "local")
            for e in (8.0, 3.0)
        ),
        row("alone", value=0.77, dice=dice),
        row("alone", "local", 8.0, 0.71, dice=dice),
        row("alone", "local", 3.0, 0.6, refused=2 if refused else 0, cells=0 if refused else 2, dice=dice),
    ]
    return Comparison(
        study="hand made",
        description="Made by hand.",
        synthetic=True,
        findings=("consolidation",),
        model="small",
        partition="the natural hospitals",
        hospitals=NAMES,
        seeds=(1, 2),
        delta=0.001,
        images=1234,
        train_patients=70,
        test_patients=30,
        left_out=0,
        rows=tuple(rows),
        notes=("Labels are the data set's own.", "<script>alert(1)</script>"),
        manifest={"versions": {"torch": "2"}, "study_hash": "ab", "data_hash": "cd"},
        seconds=12.0,
    )


@pytest.mark.parametrize("dice", [None, Estimate(0.5, 0.4, 0.6)])
def test_the_console_table_holds_every_row_at_every_width(dice):
    made = comparison(dice=dice, refused=True)
    for width in (80, 120):
        target = io.StringIO()
        show.summary(made, Console(file=target, width=width), [("Read it", "runs/x/compare.html")])
        shown = target.getvalue()
        assert "…" not in shown and max(map(len, shown.splitlines())) <= width
        for said in (
            "0.850",
            "0.810–0.880",
            "0.040",
            "refused",
            "3\xa0hospitals",
            "runs/x/compare.html",
            "(0.800)",
            "0.051",
        ):
            assert said in shown
        assert ("Dice" in shown) == (dice is not None)


def test_markdown_is_one_table_whose_rows_have_one_width():
    text = show.markdown(comparison(refused=True))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(comparison().rows)
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "| Federated, distributed epsilon 8 | 0.832 | 0.792–0.862 | 0.010 | 0.018 (-0.002 to 0.048) |" in text
    assert "| Each hospital alone, epsilon 3 | refused |" in text


def test_json_and_csv_hold_the_same_rows():
    made = comparison(dice=Estimate(0.5, 0.4, 0.6), refused=True)
    told = json.loads(document.dump(made, "medquorum simulate compare x"))
    rows = list(csv.DictReader(io.StringIO(document.table(made))))
    assert len(told["rows"]) == len(rows) == len(made.rows)
    for one, other in zip(told["rows"], rows, strict=True):
        for key, cell in other.items():
            value = one[key]
            assert cell == ("" if value is None else str(value))
    assert told["rows"][-1]["reasons"] and told["rows"][-1]["auroc"] is None
    assert told["command"].startswith("medquorum simulate compare")


@pytest.mark.parametrize("dice", [None, Estimate(0.5, 0.4, 0.6)])
def test_plots_are_pictures_and_equal_for_equal_figures(dice):
    made = comparison(dice=dice)
    drawn = plots.draw_all(made)
    assert set(drawn) == {"epsilon", "hospitals"} | ({"regions"} if dice else set())
    for png in drawn.values():
        with Image.open(io.BytesIO(png)) as image:
            assert image.width > 800 and len(image.convert("RGB").getcolors(1 << 24)) > 20
    assert plots.draw_all(made) == drawn


def test_without_a_private_training_there_is_no_plot_against_epsilon():
    made = comparison()
    rows = tuple(one for one in made.rows if one.epsilon is None)
    assert set(plots.draw_all(dataclasses.replace(made, rows=rows))) == {"hospitals"}


def test_the_report_is_written_whole_and_the_page_escapes_names(tmp_path):
    written = report.write(comparison(refused=True), "medquorum simulate compare x", tmp_path)
    assert {path.name for _, path in written} == {"compare.html", "compare.json", "compare.csv", "compare.md"}
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<i>grove" not in page and "&lt;i&gt;grove" in page
    assert "http" not in page.replace("http-equiv", "") and page.count("data:image/png;base64,") == 2
    assert "refused" in page and "not a medical device" in page
    assert (tmp_path / "plots" / "epsilon.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epsilon", "1,three"], "--epsilon: 'three' is not an epsilon"),
        (["--epsilon", "0"], "'0' is not an epsilon"),
        (["--epsilon", "1,,8"], "'' is not an epsilon"),
        (["--epsilon", "nan"], "'nan' is not an epsilon"),
        (["--mode", "locl"], "did you mean 'local'"),
        (["--mode", "none"], "always there"),
        (["--seeds", "0"], "--seeds"),
        (["--json", "--markdown"], "give one of them"),
    ],
)
def test_what_cannot_be_understood_is_one_line_with_a_fix(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["simulate", "compare", "demo", *arguments]) == 2
    shown = capsys.readouterr()
    line = shown.err.splitlines()[-1]
    assert shown.out == "" and line.startswith("error: ") and said in line and "Fix: " in line
    assert not (tmp_path / "runs").exists()


def test_a_study_of_real_images_asks_for_its_folder(capsys, tmp_path):
    assert cli.main(["simulate", "compare", "cxr_adult", "--out", str(tmp_path / "out")]) == 2
    assert "Fix: add --data DIR" in capsys.readouterr().err
