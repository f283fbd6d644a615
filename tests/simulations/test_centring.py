"""Plans that find the centre of their features first, through whole federations of real nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import hospitals
import numpy as np
import pytest

from medquorum.client import training_set
from medquorum.client.node import Node
from medquorum.models.checkpoint import Release
from medquorum.models.parameters import moving, to_vector
from medquorum.privacy import wire
from medquorum.privacy.events import plan_events
from medquorum.privacy.plan import Mode, Plan
from medquorum.privacy.recipe import Recipe
from medquorum.server.errors import QuorumError
from medquorum.server.progress import Event, RoundFinished
from medquorum.server.run_folder import Checkpoint
from medquorum.simulations.engine import federate

PATIENTS = {"a": 4, "b": 6, "c": 8}
CENTRING = 2
CLIP = 0.5
NUMBERS = count()  # no two plans are the same to a node


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Node]]:
    with hospitals.spendthrift(tmp_path_factory.mktemp("hospitals"), PATIENTS) as made:
        yield made


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return hospitals.make_frozen_release(tmp_path_factory.mktemp("weights"), 64, centred=True)


def plan_of(
    release: Release, mode: Mode, rounds: int, noise: float = 0.3, centring: int = CENTRING, **training: object
) -> Plan:
    privacy = hospitals.make_privacy(mode=mode, epsilon=1e6, noise_multiplier=noise, clip=CLIP)
    steps = 1 if mode == "distributed" else 2
    recipe = Recipe(centring=centring)
    terms = hospitals.make_training(local_steps=steps, learning_rate=2.0, recipe=recipe, **training)
    return hospitals.make_plan(
        release, PATIENTS, name=f"plan {next(NUMBERS)}", rounds=rounds, privacy=privacy, training=terms, evaluation=None
    )


def patients(nodes: dict[str, Node], plan: Plan, release: Release) -> np.ndarray:
    """Each patient's mean feature (N, C), over all hospitals."""
    means: list[np.ndarray] = []
    for node in nodes.values():
        rows = training_set.build(node.store, node.store.frozen(plan.hash), release)
        features = rows.inputs.float().mean(dim=(2, 3)).double().numpy()
        means += [features[rows.patients == number].mean(axis=0) for number in range(rows.patient_count)]
    return np.stack(means)


def parts(release: Release) -> tuple[np.ndarray, np.ndarray]:
    """The centre and the head's weights."""
    return tuple(release.tensors[name].double().numpy().ravel() for name in ("head.centre.weight", "head.map.weight"))  # pyright: ignore[reportReturnType]


def test_without_privacy_the_centre_is_the_mean_over_patients_and_then_stays(
    nodes: dict[str, Node], release: Release, tmp_path: Path
) -> None:
    plan = plan_of(release, "none", CENTRING + 3, server_momentum=0.9)
    after = federate(nodes, plan, release, tmp_path / "run").release
    centre, weights = parts(after)
    assert centre == pytest.approx(patients(nodes, plan, release).mean(axis=0), abs=1e-5)
    assert np.linalg.norm(weights) > 0.01


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_under_privacy_every_patient_counts_by_the_clip_and_the_noise_is_the_plans(
    nodes: dict[str, Node], release: Release, tmp_path: Path, mode: Mode
) -> None:
    found: dict[float, np.ndarray] = {}
    for noise in (0.3, 5.0):
        # A single round after the centre is found: it must leave the centre as it is.
        plan = plan_of(release, mode, CENTRING + 1, noise)
        (found[noise], _) = parts(federate(nodes, plan, release, tmp_path / str(noise)).release)
        means = patients(nodes, plan, release)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    exact = (means / np.maximum(norms, CLIP)).mean(axis=0)
    assert norms.min() > 0.0 and norms.max() < 1.0 + 1e-5
    steps = CENTRING * (2 if mode == "local" else 1)
    # The noise in clips on a sum, over all patients and steps; every site of mode "local" adds all of its own.
    each = np.sqrt((len(PATIENTS) if mode == "local" else 1) / steps) / sum(PATIENTS.values())
    assert np.abs(found[0.3] - exact).max() < 6 * 0.3 * each + 2e-3
    spread = (found[5.0] - exact).std() / (5.0 * each)
    assert 0.8 < spread < 1.2


@pytest.mark.parametrize("mode", ["none", "local", "distributed"])
def test_a_round_moves_the_centre_or_the_head_and_remembers_nothing_of_the_other(
    nodes: dict[str, Node], release: Release, tmp_path: Path, mode: Mode
) -> None:
    plan = plan_of(release, mode, CENTRING + 2, server_momentum=0.9)
    states: list[Checkpoint] = []

    def watch(event: Event) -> None:
        if isinstance(event, RoundFinished):
            states.append(wire.decode(Checkpoint, (tmp_path / "run" / "checkpoint.cbor").read_bytes()))

    federate(nodes, plan, release, tmp_path / "run", on_event=watch)
    centre = moving(release.network().trainable(), centring=True).numpy()
    start = to_vector(release.network().trainable()).numpy()
    models = [start, *(np.frombuffer(state.parameters, dtype="<f4") for state in states)]
    moved = [(before != after) for before, after in pairwise(models)]
    for number, changes in enumerate(moved, start=1):
        of_centre = number <= CENTRING
        assert changes[centre == of_centre].any() and not changes[centre != of_centre].any(), number
    assert all(state.strategy == () for state in states[:CENTRING])
    velocity = states[CENTRING].strategy_state()["velocity"]
    assert velocity == pytest.approx((models[CENTRING + 1] - models[CENTRING])[~centre], rel=1e-3, abs=1e-6)


def test_the_running_mean_of_models_begins_when_training_does(
    nodes: dict[str, Node], release: Release, tmp_path: Path
) -> None:
    plan = plan_of(release, "none", CENTRING + 1)
    mean = replace(plan, name="mean", training=replace(plan.training, recipe=Recipe(centring=CENTRING, averaging=0.9)))
    found = [federate(nodes, one, release, tmp_path / one.name).release for one in (plan, mean)]
    for last, averaged in zip(parts(found[0]), parts(found[1]), strict=True):
        assert averaged == pytest.approx(last, abs=1e-6)


def test_a_round_that_finds_the_centre_costs_what_any_round_costs(release: Release) -> None:
    for mode in ("local", "distributed"):
        assert plan_events(plan_of(release, mode, 5)) == plan_events(plan_of(release, mode, 5, centring=0))


def test_a_second_plan_starts_from_the_centre_that_is_there(
    nodes: dict[str, Node], release: Release, tmp_path: Path
) -> None:
    first = federate(nodes, plan_of(release, "none", 3), release, tmp_path / "first").release
    second = federate(nodes, plan_of(first, "none", 4), first, tmp_path / "second").release
    assert parts(second)[0] == pytest.approx(parts(first)[0], abs=1e-5)


def test_a_node_refuses_to_find_a_centre_for_a_model_without_one(
    nodes: dict[str, Node], release: Release, tmp_path: Path
) -> None:
    plain = hospitals.make_release()
    with pytest.raises(QuorumError, match=r"finds a centre in its first 2 rounds"):
        federate(nodes, plan_of(plain, "local", 3), plain, tmp_path / "run")
