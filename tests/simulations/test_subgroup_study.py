"""A study that asks for gates on subgroups: sex and age reach the hospitals' nodes, and their votes count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_study import PICTURES, pictures, tiny

from medquorum.client.node import Node
from medquorum.privacy.subgroups import Traits
from medquorum.simulations.data import collect
from medquorum.simulations.errors import StudyError
from medquorum.simulations.run import run_study
from medquorum.simulations.sites import open_site

COLUMNS = ('subgroups = ["sex", "age"]', 'subgroups = ["sex", "age"]\nsex = "sex"\nage = "age"')
GATES = """quorum = 2
evaluation_bins = 20
gate_max_fall = 0.9
gate_subgroups = ["sex", "age<40"]
gate_subgroup_max_fall = 1.0
gate_subgroup_floor = 0.99
gate_subgroup_minimum = 2
"""


def nothing(*_: Any) -> None:
    """Nobody watches."""


def test_sex_and_age_come_from_a_table_and_from_phantoms_headers(tmp_path: Path) -> None:
    study = tiny(tmp_path, COLUMNS, text=PICTURES)
    hospitals = collect(study, pictures(tmp_path / "data", patients=12, images=1), tmp_path / "out", nothing)
    known: set[Traits] = set()
    for number, hospital in enumerate(hospitals):
        site = open_site(study, hospital, number, tmp_path / hospital.name, 2, nothing)
        known |= set(site.node.store.traits(row.id for row in site.node.store.instances()).values())
        site.close()
    assert known == {Traits("F", 18), Traits("M", 18), Traits("F", 30), Traits("M", 30), Traits("M", 40)}
    phantoms = tiny(tmp_path / "phantoms")
    (first, _) = collect(phantoms, None, tmp_path / "made", nothing)
    site = open_site(phantoms, first, 0, tmp_path / "first", 2, nothing)
    stated = site.node.store.traits(row.id for row in site.node.store.instances()).values()
    assert stated and all(one.sex in ("F", "M") and one.age is not None for one in stated)
    site.close()


def test_a_cell_that_is_no_sex_names_the_studys_table(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", patients=6, images=1)
    (data / "labels.csv").write_text((data / "labels.csv").read_text().replace(",F,", ",woman,", 1))
    study = tiny(tmp_path, COLUMNS, text=PICTURES)
    with pytest.raises(Exception, match=r"labels\.csv, row 2: 'woman' is no sex|'woman' is no sex.*labels\.csv, row 2"):
        collect(study, data, tmp_path / "out", nothing)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('gate_max_fall = 0.1\ngate_subgroups = ["women"]', "names no subgroup"),
        ('gate_max_fall = 0.1\ngate_subgroups = ["age<41"]', "line at the age of 41"),
        ("gate_max_fall = 0.1\ngate_subgroups = []", "0 subgroups"),
        ('gate_subgroups = ["sex"]', "unknown"),
    ],
)
def test_gates_that_cannot_be_are_refused_with_the_file_and_the_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(StudyError, match=f"plan.gate_subgroups.*{says}|{says}.*plan.gate_subgroups"):
        tiny(tmp_path, ("quorum = 2", f"quorum = 2\n{text}"), text=PICTURES)


@pytest.mark.slow
def test_the_hospitals_vote_down_what_is_too_bad_for_a_subgroup(tmp_path: Path) -> None:
    """Exact here, so that it is certain: one round teaches too little for a floor of .99, and the whole may fall."""
    study = tiny(
        tmp_path,
        COLUMNS,
        ("quorum = 2\n", GATES),
        ("rounds = 2", "rounds = 1"),
        ("epsilon = 8.0", 'mode = "none"\nepsilon = 8.0'),
        text=PICTURES,
    )
    result = run_study(study, pictures(tmp_path / "data", images=1), tmp_path / "out")
    assert any("is gated: 2 of 2 sites voted against" in said for said in result.warnings)
    failed: set[str] = set()
    for site in result.sites:
        with Node.open(tmp_path / "out" / "nodes" / site.name) as node:
            agreements: Any = node._agreements  # pyright: ignore[reportPrivateUsage]
            (plan,) = agreements.named(f"simulation of {study.name}", study.name)
            found = agreements.verdicts(plan.hash)
            assert [one.group for one in found] == ["everybody", "sex=F", "sex=M", "sex=O", "age<40"]
            assert not found[0].failed
            failed |= {one.group for one in found if one.failed}
    assert failed and failed <= {"sex=F", "sex=M", "age<40"}
