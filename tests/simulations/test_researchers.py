"""docs/researchers.md, line by line: its study, its commands and its Python, on a generated folder of images."""

from __future__ import annotations

import csv
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from tiny_study import pictures

from medquorum import cli
from medquorum.simulations.study import load_study

PAGE = (Path(__file__).parents[2] / "docs" / "researchers.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory with the folder `images` and the page's study.toml."""
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "images", patients=48)
    table = tmp_path / "images" / "labels.csv"
    table.write_text(table.read_text().replace("spot", "opacity"))
    (study,) = blocks("toml")
    (tmp_path / "study.toml").write_text(study, encoding="utf-8")
    return tmp_path


def test_the_study_reads_and_the_table_has_its_columns(desk):
    study = load_study(desk / "study.toml")
    (header,) = (next(csv.reader(text.splitlines())) for text in blocks("csv"))
    with (desk / "images" / "labels.csv").open() as handle:
        assert next(csv.reader(handle)) == header
    assert study.data.subgroups == ("sex", "age") and tomllib.loads(blocks("toml")[0])["sites"]["partition"] == "iid"


@pytest.mark.slow
def test_every_command_and_the_python_run_as_they_stand(desk, capsys):
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert [line.split()[2] for line in commands] == ["describe", "run", "sweep", "verify"]
    for line in commands:
        assert cli.main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "every figure" in told
    for path in ("described/plots/partition.png", "runs/mine/report.html", "runs/sweep/sweep.csv"):
        assert (desk / path).exists()
    drawn = {path.stem for path in (desk / "runs" / "sweep" / "plots").iterdir()}
    assert drawn == {"partition", "epsilon", "learning", "sites", "subgroups", "calibration", "cost"}
    (program,) = blocks("python")
    exec(compile(program, "docs/researchers.md", "exec"), {})
    assert "North" in capsys.readouterr().out


def test_every_name_on_the_page_exists(desk):
    for path in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / path).exists(), path
    for kind in re.findall(r'^\| `"(\w+)"` \|', PAGE, flags=re.MULTILINE):
        text = (desk / "study.toml").read_text().replace('partition = "iid"', f'partition = "{kind}"')
        more = {"sizes": "sizes = [4, 2, 1]", "dirichlet": "alpha = 0.5", "look": 'look = "noise"'}.get(kind, "")
        text = text.replace("held_out = 0.3", f"{more}\nheld_out = 0.3")
        if kind == "column":
            text = text.replace('file = "file"', 'file = "file"\nsite = "hospital"')
        (desk / "other.toml").write_text(text)
        assert load_study(desk / "other.toml").sites.partition == kind
