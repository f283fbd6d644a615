"""The centre of features: a release has a place for it, rounds move it or the rest, and the head sees past it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file

from medquorum.models.card import Architecture, ModelCard
from medquorum.models.centring import Centre, Centring, centres, require_centre
from medquorum.models.checkpoint import Release
from medquorum.models.errors import CardError, UntrainableError
from medquorum.models.head import RegionHead
from medquorum.models.network import build
from medquorum.models.parameters import from_vector, moving, to_vector
from medquorum.models.trainable import require_private

from .conftest import needs_packaged_weights
from .test_card import CARD


def head(centred: bool = True) -> RegionHead:
    torch.manual_seed(1)
    return RegionHead(6, 2, "attention", 4.0, centred=centred)


def test_the_head_reads_features_from_the_centre() -> None:
    made, features, centre = head(), torch.randn(3, 6, 4, 4), torch.randn(6)
    at_zero = made(features)
    assert made.centre is not None
    with torch.no_grad():
        made.centre.weight.copy_(centre[None])
    moved = made(features + centre.view(1, -1, 1, 1))
    assert torch.allclose(moved.logits, at_zero.logits, atol=1e-5)
    assert torch.allclose(moved.maps, at_zero.maps, atol=1e-5)
    assert not torch.allclose(made(features).maps, at_zero.maps, atol=1e-2)


def test_a_round_moves_the_centre_or_the_rest() -> None:
    made = head()
    centre, rest = moving(made, centring=True), moving(made, centring=False)
    assert torch.equal(centre, ~rest) and int(centre.sum()) == 6
    assert [name for name, _ in centres(made)] == ["centre.weight"]
    vector = torch.arange(len(centre), dtype=torch.float32)
    from_vector(made, vector)
    assert torch.equal(to_vector(made), vector)
    assert made.centre is not None
    assert torch.equal(made.centre.weight.flatten(), vector[centre])
    plain = head(centred=False)
    assert moving(plain, centring=False).all() and not moving(plain, centring=True).any()


def test_the_gradient_is_how_far_the_mean_feature_lies_from_where_the_plan_began() -> None:
    centre, origin, features = Centre(6), torch.randn(1, 6), torch.randn(3, 6, 4, 4)
    centring = Centring(centre, origin)
    require_private(centring)
    for _ in range(2):
        (gradient,) = torch.autograd.grad(centring(features)[1], centring.centre.weight)
        assert torch.allclose(gradient[0], origin[0] - features[1].mean(dim=(1, 2)), atol=1e-6)
        with torch.no_grad():
            centring.centre.weight -= gradient  # the next step's gradient is the same


@pytest.mark.parametrize("backbone", ["small", pytest.param("efficientnet_lite0", marks=needs_packaged_weights)])
def test_a_release_keeps_its_centre(tmp_path: Path, backbone: Literal["small", "efficientnet_lite0"]) -> None:
    file: Path | None = None
    if backbone == "small":
        start = build(Architecture("small", "random", False, 8, "mean", 4.0), 1, 5)
        file = tmp_path / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in start.backbone.state_dict().items()}, file)
    weights = "packaged" if file is None else "file"
    architecture = Architecture(backbone, weights, True, 8, "mean", 4.0, centred=True)
    network = build(architecture, len(CARD.task.findings), 1, file)
    assert network.head.centre is not None
    assert not network.head.centre.weight.any() and not network.head.centre.weight.requires_grad
    with torch.no_grad():
        network.head.centre.weight.normal_()
    release = Release.from_bytes(*Release.of(network, replace(CARD, architecture=architecture)).to_bytes())
    again = release.network().head.centre
    assert again is not None
    assert torch.equal(again.weight, network.head.centre.weight)


def test_only_fixed_features_have_a_centre() -> None:
    frozen = Architecture("efficientnet_lite0", "packaged", True, 32, "mean", 5.0)
    centred = replace(CARD, architecture=replace(frozen, centred=True))
    assert ModelCard.from_json(centred.to_json()) == centred
    # A card from before there were centres keeps its bytes, and with them its hash.
    assert "centred" not in json.loads(CARD.to_json())["architecture"]
    for change in ({"trained_blocks": 1}, {"backbone": "small", "weights": "random", "frozen": False}):
        with pytest.raises(CardError, match="a centre of features that are trained"):
            replace(frozen, centred=True, **change)  # pyright: ignore[reportArgumentType]


def test_a_plan_that_looks_for_a_centre_that_the_model_has_no_place_for_is_refused() -> None:
    frozen = Architecture("efficientnet_lite0", "packaged", True, 32, "mean", 5.0)
    require_centre(frozen, 0)
    require_centre(replace(frozen, centred=True), 2)
    require_centre(replace(frozen, centred=True), 0)
    with pytest.raises(UntrainableError, match=r"first 2 rounds.*centred = true"):
        require_centre(frozen, 2)
