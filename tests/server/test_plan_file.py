"""Plan files: what one gives, that it gives the same twice, and the one line for everything that is wrong in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hospitals import TASK, make_release
from typer.testing import CliRunner

from medquorum.models import checkpoint
from medquorum.privacy.accounting import plan_epsilon
from medquorum.privacy.calibration import steps_within
from medquorum.privacy.errors import UnaccountableError
from medquorum.privacy.guarantee import guarantee
from medquorum.privacy.plan import Plan
from medquorum.server.errors import PlanFileError
from medquorum.server.network.commands import coordinator as commands
from medquorum.server.network.consortium import Consortium
from medquorum.server.plan_file import load_plan

PLAN = """
[task]
modality = "DX"
[[task.findings]]
key = "nodule"
scheme = "SCT"
code = "27925004"
meaning = "Nodule"
[release]
seed = 3
[model]
width = 8
size = 32
[plan]
rounds = 2
quorum = 3
[plan.privacy]
epsilon = 8.0
[[sites]]
name = "east"
patients = 20
[[sites]]
name = "north"
patients = 10
[[sites]]
name = "south"
patients = 30
"""
SHARED = '[plan.privacy]\nmode = "distributed"'


def written(folder: Path, text: str) -> Path:
    path = folder / "nodules.toml"
    path.write_text(text)
    return path


def test_a_plan_file_gives_a_plan_with_its_noise_and_the_release_it_starts_from(tmp_path: Path) -> None:
    plan, release = load_plan(written(tmp_path, PLAN), "chest")
    assert (plan.consortium, plan.name, plan.task, plan.release) == ("chest", "nodules", TASK, release.hash)
    assert [(site.name, site.patients) for site in plan.sites] == [("east", 20), ("north", 10), ("south", 30)]
    assert plan.evaluation is None and plan.privacy.mode == "local" and plan.privacy.noise_multiplier > 0.2
    # The same file is the same run.
    again, _ = load_plan(written(tmp_path, PLAN), "chest")
    assert again.hash == plan.hash


def test_the_noise_leaves_room_for_rounds_that_are_attempted_again(tmp_path: Path) -> None:
    """Two rounds and by default one spare attempt; without one, the last round would be refused after a retry."""

    def fitting(plan: Plan) -> int:
        terms = plan.privacy
        return steps_within(terms.epsilon, terms.delta, terms.noise_multiplier, terms.sampling_rate)

    spare, _ = load_plan(written(tmp_path, PLAN), "chest")
    exact, _ = load_plan(written(tmp_path, PLAN.replace("rounds = 2", "rounds = 2\nspare_rounds = 0")), "chest")
    assert (fitting(spare), fitting(exact)) == (3, 2)


def test_a_plan_may_share_its_noise_and_states_against_how_many_colluders(tmp_path: Path) -> None:
    shared = PLAN.replace("rounds = 2", "rounds = 2\nserver_momentum = 0.5").replace(
        "[plan.privacy]", f"{SHARED}\ncolluding = 1"
    )
    plan, _ = load_plan(written(tmp_path, shared), "chest")
    assert (plan.privacy.mode, plan.privacy.colluding, plan.training.server_momentum) == ("distributed", 1, 0.5)
    local, _ = load_plan(written(tmp_path, PLAN), "chest")
    assert plan.privacy.noise_multiplier == pytest.approx(local.privacy.noise_multiplier, rel=1e-4)
    assert plan_epsilon(plan) <= 8.0
    # Four sites, of whom three open a sum: two colluders would be one too many for the masked sum.
    four = shared.replace("colluding = 1", "colluding = 2") + '[[sites]]\nname = "west"\npatients = 30\n'
    with pytest.raises(UnaccountableError, match="colluding = 1 or fewer"):
        load_plan(written(tmp_path, four), "chest")


def test_a_plan_may_gate_on_subgroups_and_says_what_that_costs(tmp_path: Path) -> None:
    gated = PLAN.replace("rounds = 2", "rounds = 2\nevaluation_bins = 10\ngate_max_fall = 0.1\ngate_tolerated = 1")
    gated = gated.replace("patients = ", "held_out = 40\npatients = ")
    asked = gated.replace(
        "gate_tolerated", 'gate_subgroups = ["sex", "age>=65"]\ngate_subgroup_floor = 0.7\ngate_tolerated'
    )
    plan, _ = load_plan(written(tmp_path, asked), "chest")
    assert plan.evaluation is not None and plan.evaluation.gate is not None
    subgroups = plan.evaluation.gate.subgroups
    assert subgroups is not None and (subgroups.max_fall, subgroups.floor, subgroups.minimum_patients) == (0.1, 0.7, 20)
    assert [one.name for one in subgroups.groups] == ["sex=F", "sex=M", "sex=O", "age>=65"]
    bare, _ = load_plan(written(tmp_path, gated), "chest")
    assert bare.evaluation is not None
    assert plan.evaluation.noise_multiplier > bare.evaluation.noise_multiplier
    assert guarantee(plan).without_subgroups < guarantee(plan).evaluation <= 8.0


def test_a_release_may_come_from_a_folder_beside_the_file(tmp_path: Path) -> None:
    release = make_release()
    checkpoint.save(release, tmp_path / "start")
    text = PLAN.replace("seed = 3", 'folder = "start"').replace("[model]\nwidth = 8\nsize = 32\n", "")
    plan, loaded = load_plan(written(tmp_path, text), "chest")
    assert plan.release == loaded.hash == release.hash


@pytest.mark.parametrize(
    ("old", "new", "key", "fix"),
    [
        ("quorum = 3", "quorom = 3", "plan.quorum", "quorum"),
        ("quorum = 3", "quorum = 4", "plan.quorum", "fewer"),
        ("quorum = 3", "quorum = 2", "plan.quorum", "at or above 3"),
        ("rounds = 2", 'rounds = "2"', "plan.rounds", "whole number"),
        ("rounds = 2", "rounds = 2\nevaluation_bins = 10", "plan", "declare held-out patients"),
        ("rounds = 2", "rounds = 2\nevaluation_bins = 10\ngate_max_fall = 2", "plan.gate_max_fall", "0.99"),
        ("rounds = 2", "rounds = 2\ngate_tolerated = 2", "plan.gate_tolerated", "one of"),
        ("rounds = 2", 'rounds = 2\ngate_max_fall = 0.1\ngate_subgroups = ["old"]', "plan.gate_subgroups", "age>=65"),
        ("rounds = 2", 'rounds = 2\ngate_max_fall = 0.1\ngate_subgroups = ["age<41"]', "plan.gate_subgroups", "40"),
        ("patients = 10", "patients = 3", "plan", "at least 4 patients"),
        ("epsilon = 8.0", "epsilon = 8.0\ndelta = 0.1", "plan", "below 0.033"),
        ("epsilon = 8.0", "epsilon = 8.0\nclip = -1.0", "plan.privacy.clip", "at or above 0"),
        ("epsilon = 8.0", 'mode = "none"', "plan.privacy.mode", "local"),
        ("epsilon = 8.0", 'mode = "distributed"\ncolluding = 3', "plan.privacy.mode", "at most 2 colluding"),
        ("quorum = 3\n[plan.privacy]", f"quorum = 3\nlocal_steps = 5\n{SHARED}", "plan.privacy.mode", "10 rounds"),
        (
            "quorum = 3\n[plan.privacy]",
            f"quorum = 3\nmomentum = 0.9\n{SHARED}",
            "plan.privacy.mode",
            "server_momentum 0.9",
        ),
        ("epsilon = 8.0", "colluding = 1", "plan.privacy.colluding", "one of"),
        ("epsilon = 8.0", "epsilon = 0.001", "plan", "maximum"),
        ("epsilon = 8.0", "delta = 0.2", "plan", "delta below"),
        ('name = "south"', 'name = "east"', "sites[3].name", "once"),
        ("patients = 30", "patients = 0", "sites[3].patients", "at or above 1"),
        ('[[sites]]\nname = "south"\npatients = 30\n', "", "sites", "at least three"),
        ("[release]\nseed = 3\n", "", "release", "add [release]"),
        ("seed = 3", 'folder = "nowhere"', "model", "remove one"),
        ('modality = "DX"', "", "task.modality", "add modality"),
        ("[task]", "[task", "", "correct that line"),
    ],
)
def test_each_mistake_is_one_line_with_file_key_and_fix(tmp_path: Path, old: str, new: str, key: str, fix: str) -> None:
    assert PLAN.count(old) >= 1
    path = written(tmp_path, PLAN.replace(old, new, 1))
    with pytest.raises(PlanFileError) as caught:
        load_plan(path, "chest")
    said = str(caught.value)
    assert said.startswith(str(path)) and key in said and fix in caught.value.fix and "\n" not in said


def test_a_missing_file_and_a_release_of_another_task_are_said(tmp_path: Path) -> None:
    with pytest.raises(PlanFileError, match="no such plan file"):
        load_plan(tmp_path / "absent.toml", "chest")
    checkpoint.save(make_release(), tmp_path / "start")
    text = PLAN.replace("seed = 3", 'folder = "start"').replace("[model]\nwidth = 8\nsize = 32\n", "")
    with pytest.raises(PlanFileError, match="another task"):
        load_plan(written(tmp_path, text.replace('"DX"', '"CR"')), "chest")


def test_the_command_plan_says_what_a_plan_would_promise(tmp_path: Path) -> None:
    Consortium.create(tmp_path / "c", "chest")
    file = str(written(tmp_path, PLAN.replace("[plan.privacy]", SHARED)))
    said = CliRunner().invoke(commands, ["plan", file, "--folder", str(tmp_path / "c")]).stdout
    assert "3 sites, quorum 3" in said and "Against the coordinator alone: epsilon" in said
    plain = CliRunner().invoke(commands, ["plan", file, "--folder", str(tmp_path / "c"), "--json"]).stdout
    promised = json.loads(plain)
    assert promised["training"] <= promised["stated"] == 8.0 and len(promised["collusions"]) == 3


def test_one_finding_with_sides_is_a_finding_for_each(tmp_path: Path) -> None:
    both = PLAN.replace('meaning = "Nodule"', 'meaning = "Nodule"\nsides = ["L", "R"]')
    plan, release = load_plan(written(tmp_path, both), "chest")
    assert plan.task.findings == TASK.findings[0].of_sides(["L", "R"]) == release.card.task.findings
    assert plan.training.finding_weights == (1.0, 1.0)
    with pytest.raises(PlanFileError, match=r"task.findings\[1\].sides"):
        load_plan(written(tmp_path, both.replace('"L", "R"', '"left"')), "chest")
