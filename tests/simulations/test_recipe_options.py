"""Recipe options through whole federations: real nodes and coordinator, in both private modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hospitals
import pytest
import torch

from medquorum.client.node import Node
from medquorum.models.checkpoint import Release
from medquorum.models.parameters import to_vector
from medquorum.privacy.plan import Mode, Plan
from medquorum.privacy.recipe import PLAIN, Recipe
from medquorum.simulations.engine import federate

PATIENTS = {"a": 4, "b": 6, "c": 8}
# Next to none beside the gradients, which a site alone hides under all of its own and together under a share.
NOISE: dict[Mode, float] = {"local": 0.02, "distributed": 0.3}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Node]]:
    with hospitals.spendthrift(tmp_path_factory.mktemp("hospitals"), PATIENTS) as made:
        yield made


def plan_of(release: Release, mode: Mode, name: str, recipe: Recipe = PLAIN) -> Plan:
    privacy = hospitals.make_privacy(mode=mode, epsilon=1e6, noise_multiplier=NOISE[mode], clip=0.5)
    training = hospitals.make_training(local_steps=1 if mode == "distributed" else 2, learning_rate=0.05, recipe=recipe)
    return hospitals.make_plan(release, PATIENTS, name=name, privacy=privacy, training=training, evaluation=None)


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_last_blocks_move_and_the_rest_of_the_backbone_does_not(
    nodes: dict[str, Node], tmp_path: Path, mode: Mode
) -> None:
    release = hospitals.make_frozen_release(tmp_path, trained_blocks=2)
    after = federate(nodes, plan_of(release, mode, f"blocks {mode}"), release, tmp_path / "run").release
    for name, tensor in release.tensors.items():
        moved = not torch.equal(tensor, after.tensors[name])
        assert moved == name.startswith(("head.", "backbone.body.4.", "backbone.body.5.")), name


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_a_falling_clip_shortens_every_later_step(nodes: dict[str, Node], tmp_path: Path, mode: Mode) -> None:
    """Normalised gradients are as long as the clip, so what it leaves is seen in how far the model went."""
    release = hospitals.make_frozen_release(tmp_path)
    start = to_vector(release.network().trainable())

    def went(name: str, recipe: Recipe) -> float:
        plan = plan_of(release, mode, f"{name} {mode}", recipe)
        after = federate(nodes, plan, release, tmp_path / name).release
        return float((to_vector(after.network().trainable()) - start).norm())

    whole = went("whole", Recipe(normalised=True))
    falling = went("falling", Recipe(normalised=True, clip_schedule="linear", final_clip=0.01))
    # Three rounds at 1, .67 and .34 of the clip, or six steps from 1 to .175: the mean of these.
    assert falling / whole == pytest.approx(0.67 if mode == "distributed" else 0.59, abs=0.07)
