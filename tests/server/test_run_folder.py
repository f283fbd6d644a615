"""The coordinator's folder: nothing half written, one process at a time, attempts that only rise."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.models.checkpoint import Release
from medquorum.models.estimate import Estimate
from medquorum.models.histograms import ReliabilityGroup
from medquorum.models.network import build
from medquorum.privacy.plan import Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.server.errors import BusyError, RunError
from medquorum.server.outcome import Evaluation, Missing, RoundLog, SiteBytes
from medquorum.server.run_folder import Checkpoint, RunFolder, Settings
from medquorum.task import Finding, Task

TASK = Task((Finding("nodule", "SCT", "27925004", "Nodule"),), "DX")
CARD = ModelCard(TASK, Architecture("small", "random", False, 8, "mean", 4.0), InputTransform(32, 0.5, 0.25), (1.0,))
RELEASE = Release.of(build(CARD.architecture, 1, 3), CARD)
PLAN = Plan(
    "tests",
    "plan",
    TASK,
    RELEASE.hash,
    (PlanSite("a", 10), PlanSite("b", 10)),
    1,
    2,
    TrainingTerms("fedavg", 1, 0.1, 0.0, 0.0, (1.0,), 0.0, False, 1.0, 0.9, 0.99, 0.001),
    PrivacyTerms("local", 8.0, 1e-3, 1.0, 2.0, 10.0, 1.0, "mean"),
    None,
    1,
)
EVALUATION = Evaluation(
    ("a",),
    (None,),
    (Estimate(0.1, 0.0, 0.2),),
    ((ReliabilityGroup(0.05, Estimate(0.1, 0.0, 0.2), 3.5),),),
    (1.5,),
    1,
    2,
)
LOG = RoundLog(1, 2, ("a",), (Missing("b", "gone", False),), 0.25, EVALUATION, (SiteBytes("a", 1, 2),), 3.5)
STATE = Checkpoint(PLAN.hash, b"\0" * 8, (), EVALUATION, (LOG,), (SiteBytes("a", 3, 4),), 1.0)


def test_a_prepared_run_opens_with_what_it_was_given(tmp_path: Path) -> None:
    RunFolder.prepare(tmp_path / "run", PLAN, RELEASE, Settings(synthetic=True))
    with RunFolder.open(tmp_path / "run") as run:
        assert run.plan == PLAN
        assert run.settings == Settings(synthetic=True)
        assert run.starting_release().hash == RELEASE.hash
        assert run.checkpoint() is None


def test_preparing_again_keeps_the_run_and_takes_new_settings(tmp_path: Path) -> None:
    RunFolder.prepare(tmp_path, PLAN, RELEASE, Settings())
    with RunFolder.open(tmp_path) as run:
        run.save(STATE)
    RunFolder.prepare(tmp_path, PLAN, RELEASE, Settings(attempts=9))
    with RunFolder.open(tmp_path) as run:
        assert run.checkpoint() == STATE
        assert run.settings.attempts == 9


def test_another_plan_or_release_is_refused(tmp_path: Path) -> None:
    RunFolder.prepare(tmp_path, PLAN, RELEASE, Settings())
    with pytest.raises(RunError, match="another plan"):
        RunFolder.prepare(tmp_path, replace(PLAN, rounds=3), RELEASE, Settings())
    with pytest.raises(RunError, match="starts from release"):
        RunFolder.prepare(tmp_path / "other", replace(PLAN, release=bytes(32)), RELEASE, Settings())
    with pytest.raises(RunError, match="not a prepared run"):
        RunFolder.open(tmp_path / "nowhere")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    RunFolder.prepare(tmp_path, PLAN, RELEASE, Settings())
    with RunFolder.open(tmp_path), pytest.raises(BusyError):
        RunFolder.open(tmp_path)
    RunFolder.open(tmp_path).close()


def test_attempts_rise_within_a_round_and_across_processes(tmp_path: Path) -> None:
    RunFolder.prepare(tmp_path, PLAN, RELEASE, Settings())
    with RunFolder.open(tmp_path) as run:
        assert [run.begin("update", 1), run.begin("update", 1), run.begin("evaluation", 1)] == [1, 2, 1]
    with RunFolder.open(tmp_path) as run:
        assert [run.begin("update", 1), run.begin("evaluation", 1), run.begin("update", 2)] == [3, 2, 1]


def test_a_failed_write_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunFolder.prepare(tmp_path, PLAN, RELEASE, Settings())
    with RunFolder.open(tmp_path) as run:
        run.save(STATE)

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            run.save(replace(STATE, rounds=()))
        monkeypatch.undo()
        assert run.checkpoint() == STATE
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".checkpoint")]


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    RunFolder.prepare(tmp_path, PLAN, RELEASE, Settings())
    with RunFolder.open(tmp_path) as run:
        run.save(STATE)
        path = tmp_path / "checkpoint.cbor"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(RunError, match=r"checkpoint\.cbor"):
            run.checkpoint()
        run.save(replace(STATE, plan_hash=bytes(32)))
        with pytest.raises(RunError, match="another plan"):
            run.checkpoint()


def test_strategy_memory_survives_bit_for_bit(tmp_path: Path) -> None:
    RunFolder.prepare(tmp_path, PLAN, RELEASE, Settings())
    memory = {"variance": np.array([1e-300, 0.1]), "momentum": np.array([-0.0, 3.0])}
    with RunFolder.open(tmp_path) as run:
        run.save(STATE.with_strategy(memory))
        found = run.checkpoint()
    assert found is not None
    assert {name: vector.tobytes() for name, vector in found.strategy_state().items()} == {
        name: vector.tobytes() for name, vector in memory.items()
    }
