"""Last blocks trained on a frozen backbone: the same function, less of it computed again, and only they can move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.models.checkpoint import Release
from medquorum.models.errors import CardError
from medquorum.models.heatmap import grad_cam
from medquorum.models.network import FindingNet, build
from medquorum.models.trainable import require_private
from medquorum.task import Finding, Task

from .conftest import FROZEN, needs_packaged_weights

TASK = Task((Finding("nodule", "SCT", "1", "Nodule"), Finding("mass", "SCT", "2", "Mass")), "DX")
EFFICIENT = replace(FROZEN, pooling="mean")


def frozen(architecture: Architecture, blocks: int, folder: Path) -> FindingNet:
    """The network with so many trained blocks and a head that is not zero; its weights do not depend on the number."""
    file = None
    if architecture.backbone != "efficientnet_lite0":
        start = build(replace(architecture, weights="random", frozen=False), 2, 5)
        file = folder / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in start.backbone.state_dict().items()}, file)
    net = build(replace(architecture, trained_blocks=blocks), 2, 1, file).eval()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(4)
        for parameter in net.head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return net


def case(backbone: str) -> Architecture:
    if backbone == "efficientnet_lite0":
        return EFFICIENT
    return Architecture(backbone, "file", True, 16, "mean", 4.0)  # pyright: ignore[reportArgumentType]


ALL = [
    *(("small", 64, blocks) for blocks in range(1, 6)),
    *(("resnet18", 64, blocks) for blocks in (1, 2)),
    # 80 pixels are five cells of the features' grid and three of the last blocks' own.
    *(
        pytest.param("efficientnet_lite0", size, k, marks=needs_packaged_weights)
        for size in (64, 80)
        for k in (1, 4, 5)
    ),
]


@pytest.mark.parametrize(("backbone", "size", "blocks"), ALL)
def test_what_is_computed_is_the_same_however_many_blocks_come_after_the_cache(
    backbone: str, size: int, blocks: int, tmp_path: Path
) -> None:
    images = torch.rand(3, 1, size, size)
    whole, split = frozen(case(backbone), 0, tmp_path), frozen(case(backbone), blocks, tmp_path)
    features = split.features(images)
    assert features.shape[2:] == (size // 16, size // 16) and not features.requires_grad
    with torch.no_grad():
        expected = whole(images)
        for found in (split(images), split.trainable()(features)):
            assert torch.allclose(found.logits, expected.logits, atol=1e-4)
            assert torch.allclose(found.maps, expected.maps, atol=1e-3)
            assert expected.logits.abs().max() > 0.05
    assert torch.allclose(grad_cam(split, images, 0), grad_cam(whole, images, 0), atol=1e-3)


@pytest.mark.parametrize(("backbone", "size", "blocks"), [("small", 64, 2), ALL[-1]])
def test_the_trained_blocks_and_the_head_learn_and_nothing_else_does(
    backbone: str, size: int, blocks: int, tmp_path: Path
) -> None:
    net = frozen(case(backbone), blocks, tmp_path).train()
    module = net.trainable()
    require_private(module)
    require_private(net)
    moving = {id(parameter) for parameter in module.parameters()}
    learning = {id(parameter) for parameter in net.parameters() if parameter.requires_grad}
    branch = net.backbone.branch(blocks)
    assert moving == learning == {id(one) for one in (*branch.parameters(), *net.head.parameters())}
    images = torch.rand(2, 1, size, size)
    features = net.features(images)
    module(features).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in branch.parameters() if p.ndim > 1)
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.sub_(0.1 * parameter.grad)
    assert torch.equal(net.features(images), features)  # what a site has cached is still right


@needs_packaged_weights
def test_a_release_holds_what_was_trained_of_packaged_weights_and_nothing_more(tmp_path: Path) -> None:
    net = frozen(EFFICIENT, 1, tmp_path)
    with torch.no_grad():
        for parameter in net.backbone.branch(1).parameters():
            parameter.mul_(1.5)
    card = ModelCard(TASK, replace(EFFICIENT, trained_blocks=1), InputTransform(64, 0.0, 1.0), (1.0, 1.0))
    release = Release.of(net, card)
    assert {name.rsplit(".", 2)[0] for name in release.tensors if name.startswith("backbone")} == {"backbone.blocks.15"}
    again = Release.from_bytes(*release.to_bytes())
    assert again.hash == release.hash
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.network()(images).logits, net(images).logits)
        assert not torch.allclose(frozen(EFFICIENT, 1, tmp_path)(images).logits, net(images).logits)


@needs_packaged_weights
def test_the_exact_engine_clips_each_patients_gradient_of_the_blocks_too(tmp_path: Path) -> None:
    from medquorum.privacy.clipping import MARGIN, PatientRows, hooked, trainable

    module = frozen(EFFICIENT, 5, tmp_path).train().trainable()
    features = frozen(EFFICIENT, 5, tmp_path).features(torch.rand(3, 1, 64, 64))

    def losses(rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(module(features[rows]).logits).sum(dim=1)

    clip = 0.5
    with hooked(module, losses, 8) as gradients:
        ours = gradients.clipped_sum(PatientRows(np.arange(3), np.array([0, 1, 3])), clip).total
    expected = np.zeros_like(ours)
    module.double()
    wide = features.double()
    for rows in ([0], [1, 2]):
        module.zero_grad()
        torch.nn.functional.softplus(module(wide[rows]).logits).sum(dim=1).mean().backward()
        one = torch.cat([parameter.grad.reshape(-1) for parameter in trainable(module).values()]).numpy()
        assert np.linalg.norm(one) > clip
        expected += one * clip * (1.0 - MARGIN) / np.linalg.norm(one)
    assert np.linalg.norm(ours - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("architecture", "blocks", "says"),
    [
        (EFFICIENT, 6, "choose 0 to 5"),
        (EFFICIENT, -1, "choose 0 to 5"),
        (case("resnet18"), 3, "choose 0 to 2"),
        (replace(case("small"), weights="random", frozen=False), 1, "everything is trained"),
    ],
)
def test_blocks_that_cannot_be_trained_so_are_refused_with_what_can(
    architecture: Architecture, blocks: int, says: str
) -> None:
    with pytest.raises(CardError, match=says):
        replace(architecture, trained_blocks=blocks)


def test_exclusive_findings_share_one_chance() -> None:
    plain = build(Architecture("small", "random", False, 16, "mean", 4.0), 4, 2)
    shared = build(Architecture("small", "random", False, 16, "mean", 4.0, exclusive=True), 4, 2)
    images = torch.rand(5, 1, 32, 32)
    with torch.no_grad():
        scores, logits = plain(images).logits, shared(images).logits
    assert torch.allclose(logits.sigmoid(), scores.softmax(dim=1), atol=1e-5)
    assert torch.equal(shared(images).maps, plain(images).maps)


def test_log_odds_are_finite_with_their_gradients_for_scores_far_apart() -> None:
    from medquorum.models.head import RegionHead

    head = RegionHead(1, 3, "mean", 4.0, exclusive=True)
    with torch.no_grad():
        head.map.weight.copy_(torch.tensor([300.0, 0.0, -300.0]).view(3, 1, 1, 1))
    features = torch.ones(1, 1, 2, 2, requires_grad=True)
    logits = head(features).logits
    torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.eye(3)[2:]).backward()
    assert torch.isfinite(logits).all() and features.grad is not None and torch.isfinite(features.grad).all()


def test_one_finding_has_no_others_to_exclude() -> None:
    architecture = Architecture("small", "random", False, 16, "mean", 4.0, exclusive=True)
    with pytest.raises(CardError, match="two findings"):
        ModelCard(Task(TASK.findings[:1], "DX"), architecture, InputTransform(32, 0.5, 0.25), (1.0,))
