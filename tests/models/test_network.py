"""Every backbone builds, answers in the promised shapes, reproduces from its seed, and keeps images apart."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.func import functional_call, grad, vmap  # pyright: ignore[reportPrivateImportUsage]

from medquorum.models import resnet
from medquorum.models.card import Architecture
from medquorum.models.efficientnet_lite import EfficientNetLite0
from medquorum.models.errors import WeightsError
from medquorum.models.network import FindingNet, build
from medquorum.models.parameters import to_vector
from medquorum.models.trainable import require_private

from .conftest import FROZEN, SMALL, needs_packaged_weights

RESNET = Architecture("resnet18", "random", False, 16, "lse", 5.0)


@pytest.mark.parametrize("pooling", ["lse", "attention", "mean"])
@pytest.mark.parametrize("size", [64, 96])
def test_small_gives_maps_at_stride_eight(pooling: Literal["lse", "attention", "mean"], size: int) -> None:
    net = build(replace(SMALL, pooling=pooling), findings=3, seed=0)
    output = net(torch.rand(2, 1, size, size))
    assert output.logits.shape == (2, 3)
    assert output.maps.shape == (2, 3, size // 8, size // 8)
    assert net.trainable() is net
    require_private(net)


def test_resnet_gives_maps_at_stride_sixteen_and_can_be_trained_privately() -> None:
    net = build(RESNET, findings=1, seed=0)
    assert net(torch.rand(1, 1, 64, 64)).maps.shape == (1, 1, 4, 4)
    require_private(net)


@needs_packaged_weights
@pytest.mark.parametrize("size", [128, 144, 192])
def test_frozen_efficientnet_gives_compact_normalised_features(size: int) -> None:
    net = build(FROZEN, findings=2, seed=0)
    features = net.features(torch.rand(3, 1, size, size))
    assert features.shape == (3, 472, size // 16, size // 16)
    assert not features.requires_grad
    assert features.is_contiguous()  # Opacus is wrong on channels_last, in which the backbone runs
    assert torch.allclose(features.mean(dim=(2, 3)).norm(dim=1), torch.ones(3), atol=1e-5)
    assert features.abs().max() < 100.0  # far inside float16
    assert (features.half().float() - features).norm() < 1e-3 * features.norm()
    assert net.trainable() is net.head
    require_private(net.trainable())
    require_private(net)
    assert all(not parameter.requires_grad for parameter in net.backbone.parameters())
    assert not net.train().backbone.training


@needs_packaged_weights
def test_packaged_weights_recognise_a_photograph() -> None:
    # The classifier of the package on our feature maps: wrong padding, norms or order of blocks would not name this.
    image = _portrait()
    net = EfficientNetLite0().eval()
    net.load_packaged()
    from medquorum.models import efficientnet_lite

    tensors = efficientnet_lite._packaged_tensors()
    with torch.no_grad():
        x = nn.functional.conv2d(net.taps(image)[-1], tensors["_conv_head.weight"])
        mean, variance = tensors["_bn1.running_mean"], tensors["_bn1.running_var"]
        x = nn.functional.batch_norm(x, mean, variance, tensors["_bn1.weight"], tensors["_bn1.bias"], eps=1e-3)
        logits = nn.functional.relu6(x).mean(dim=(2, 3)) @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    military_uniform = 652
    assert int(logits.argmax()) == military_uniform


def _portrait() -> torch.Tensor:
    import numpy as np
    from PIL import Image

    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib's sample photograph is used")
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    if not path.exists():
        pytest.skip("this matplotlib has no sample photograph")
    picture = Image.open(path).convert("RGB").resize((256, 300), Image.Resampling.BICUBIC).crop((16, 38, 240, 262))
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255.0).permute(2, 0, 1)[None]


@pytest.mark.parametrize("architecture", [SMALL, RESNET])
def test_a_seed_fixes_the_weights_and_leaves_the_global_state(architecture: Architecture) -> None:
    state = torch.random.get_rng_state()
    first, second, third = (to_vector(build(architecture, 2, seed)) for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_one_images_output_does_not_depend_on_its_batch(small: FindingNet) -> None:
    images = torch.rand(4, 1, 64, 64)
    together = small.train()(images)
    alone = small(images[2:3])
    assert torch.allclose(together.logits[2:3], alone.logits, atol=1e-5)
    assert torch.allclose(together.maps[2:3], alone.maps, atol=1e-5)


@pytest.mark.parametrize("architecture", [SMALL, RESNET])
def test_opacus_gives_the_true_per_image_gradients(architecture: Architecture) -> None:
    grad_sample = pytest.importorskip("opacus.grad_sample")
    net = build(architecture, findings=1, seed=1)
    images = torch.rand(2, 1, 32, 32)
    parameters = {name: value.detach() for name, value in net.named_parameters()}

    def loss(values: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        return functional_call(net, values, (image[None],)).logits.square().sum()

    expected = vmap(grad(loss), in_dims=(None, 0))(parameters, images)
    wrapped = grad_sample.GradSampleModule(net, loss_reduction="sum")
    wrapped(images).logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        scale = expected[name].abs().max().clamp_min(1e-6)
        assert ((parameter.grad_sample - expected[name]).abs().max() / scale) < 1e-3, name


@pytest.mark.parametrize("architecture", [SMALL, replace(RESNET, pooling="attention")])
def test_full_backward_hooks_do_not_crash(architecture: Architecture) -> None:
    net = build(architecture, findings=1, seed=1)
    seen: list[str] = []
    for name, module in net.named_modules():
        if not list(module.children()):
            module.register_full_backward_hook(lambda *_, name=name: seen.append(name))
    net(torch.rand(2, 1, 32, 32)).logits.sum().backward()
    assert len(seen) > 10


def test_weights_come_from_a_file_by_release_or_torchvision_names(tmp_path: Path, small: FindingNet) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(small.state_dict(), path)
    again = build(replace(SMALL, weights="file"), findings=5, seed=9, weights_file=path)
    for name, tensor in small.backbone.state_dict().items():
        assert torch.equal(again.backbone.state_dict()[name], tensor)


def test_resnet_weights_with_batch_norm_keep_their_function(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    original = torchvision.models.resnet18(weights=None)
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    path = tmp_path / "resnet.safetensors"
    save_file(original.state_dict(), path)
    net = build(replace(RESNET, weights="file"), findings=1, seed=0, weights_file=path)
    require_private(net)
    original.eval()
    images = torch.rand(2, 1, 64, 64)
    colour = images.expand(-1, 3, -1, -1)
    with torch.no_grad():
        x = original.maxpool(original.relu(original.bn1(original.conv1(colour))))
        expected = original.layer3(original.layer2(original.layer1(x)))
        stride8, stride16, _ = net.backbone.taps(images)
        assert torch.allclose(stride16, expected, atol=1e-3 * float(expected.abs().max()))
        assert torch.allclose(stride8, original.layer2(original.layer1(x)), atol=1e-3)
    frozen = build(replace(RESNET, weights="file", frozen=True), findings=1, seed=0, weights_file=path)
    assert frozen.features(images).shape == (2, 896, 4, 4)


def test_weights_that_cannot_be_had_or_do_not_fit_are_named(tmp_path: Path, small: FindingNet) -> None:
    from_file = replace(SMALL, weights="file")
    with pytest.raises(WeightsError, match="without a weights file"):
        build(from_file, 1, 0)
    with pytest.raises(WeightsError, match="with a weights file"):
        build(SMALL, 1, 0, tmp_path / "any")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        build(from_file, 1, 0, tmp_path / "missing.safetensors")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        build(from_file, 1, 0, torn)
    path = tmp_path / "small.safetensors"
    save_file(small.backbone.state_dict(), path)
    with pytest.raises(WeightsError, match=r"is \(.*\) where the backbone has \("):
        build(replace(from_file, width=32), 1, 0, path)
    tensors = small.backbone.state_dict()
    name = sorted(tensors)[0]
    save_file({key: value for key, value in tensors.items() if key != name}, path)
    with pytest.raises(WeightsError, match=f"has no tensor {name}"):
        build(from_file, 1, 0, path)
    save_file({**tensors, "extra": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="unknown tensor extra"):
        build(from_file, 1, 0, path)


def test_without_a_network_torchvisions_weights_are_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> Callable[[], None]:
        raise OSError("no route to host")

    monkeypatch.setattr(type(resnet.ResNet18_Weights.IMAGENET1K_V1), "get_state_dict", unreachable)
    with pytest.raises(WeightsError, match=r"no route to host.*Fix: .*weights = \"file\""):
        build(replace(RESNET, weights="torchvision"), 1, 0)


def test_a_missing_weights_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"medquorum\[pretrained\]"):
        build(FROZEN, 1, 0)


@needs_packaged_weights
def test_a_changed_weights_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medquorum.models.efficientnet_lite.PACKAGED_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="SHA-256"):
        build(FROZEN, 1, 0)


def test_importing_the_network_does_not_import_torchvision() -> None:
    code = "import sys, medquorum.models.checkpoint, medquorum.models.heatmap; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
