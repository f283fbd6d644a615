"""The network of a release: backbone, head, and which of the two is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .backbone import Backbone
from .card import Architecture
from .efficientnet_lite import EfficientNetLite0
from .errors import WeightsError
from .guided import guided
from .head import Output, RegionHead
from .multiscale import multiscale
from .small import SmallBackbone
from .tail import STRIDE, Tail, features_before

__all__ = ["FindingNet", "Output", "build", "skeleton"]


class FindingNet(nn.Module):
    """Answers which findings an image shows, and where.

    A frozen backbone stays in evaluation and gives normalised multi-scale features, which are worth computing once
    for each image and caching (float16 loses nothing that matters); only the head is trained, and with it the
    backbone's last `trained_blocks`, whose input is then cached beside the features of the layers before. fine: see
    card.Architecture.
    """

    def __init__(
        self, backbone: Backbone, head: RegionHead, frozen: bool, trained_blocks: int = 0, fine: bool = False
    ) -> None:
        super().__init__()
        self.frozen = frozen
        self.fine = fine
        self.trained_blocks = trained_blocks
        self.backbone = backbone
        self.head = head
        if frozen:
            self.backbone.requires_grad_(False).eval()
            # Per-patient gradients want contiguous weights, wherever the backbone keeps its own in another layout.
            self.backbone.branch(trained_blocks).requires_grad_(True).to(memory_format=torch.contiguous_format)
            self.head.start_at_zero()

    def features(self, images: Tensor) -> Tensor:
        """(B,1,S,S) float32, as the card's transform makes them -> (B,C,h,w), what `trainable` takes when frozen, and
        then without gradient."""
        if not self.frozen:
            return self.backbone(images)
        rows, columns = images.shape[-2:]
        with torch.no_grad():
            if self.fine:
                return multiscale(self.backbone.taps_to(images, STRIDE), (rows * 2 // STRIDE, columns * 2 // STRIDE))
            return features_before(self.backbone, images, (rows // STRIDE, columns // STRIDE), self.trained_blocks)

    def read(self, features: Tensor) -> Tensor:
        """What the head reads of `features`: the same, unless there are trained blocks in between."""
        return self._tail().read(features) if self.trained_blocks else features

    def forward(self, images: Tensor) -> Output:
        """(B,1,S,S) -> logits (B,F) and maps (B,F,h,w), of the images' own size where the network is fine."""
        logits, maps = self.head(self.read(self.features(images)))
        return Output(logits, guided(maps, images) if self.fine else maps)

    def grid(self, size: int) -> tuple[int, int]:
        """Rows and columns of the head's maps, on which regions are learned, for images of size x size."""
        with torch.inference_mode():
            maps = self.head(self.read(self.features(torch.zeros(1, 1, size, size)))).maps
        return int(maps.shape[2]), int(maps.shape[3])

    def trainable(self) -> nn.Module:
        """What training may change: the head and trained blocks, taking features, when frozen; else the network, taking
        images."""
        if self.trained_blocks:
            return self._tail()
        return self.head if self.frozen else self

    def _tail(self) -> Tail:
        return Tail(self.backbone, self.head, self.trained_blocks)

    def train(self, mode: bool = True) -> FindingNet:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
            self.backbone.branch(self.trained_blocks).train(mode)
        return self


def skeleton(architecture: Architecture, findings: int, fixed_norms: bool = False) -> FindingNet:
    """The network with weights that are yet to be filled in. fixed_norms: see resnet.ResNet18."""
    if architecture.backbone == "small":
        backbone: Backbone = SmallBackbone(architecture.width)
    elif architecture.backbone == "resnet18":
        from .resnet import ResNet18  # torchvision takes seconds to import

        backbone = ResNet18(fixed_norms)
    else:
        backbone = EfficientNetLite0()
    if architecture.fine:
        channels = sum(backbone.tap_channels[index] for index in backbone.tapped_to(STRIDE))
    else:
        channels = sum(backbone.tap_channels) if architecture.frozen else backbone.tap_channels[-1]
    head = RegionHead(
        channels,
        findings,
        architecture.pooling,
        architecture.sharpness,
        architecture.exclusive,
        architecture.bias,
        architecture.centred,
    )
    return FindingNet(backbone, head, architecture.frozen, architecture.trained_blocks, architecture.fine)


def build(architecture: Architecture, findings: int, seed: int, weights_file: Path | None = None) -> FindingNet:
    """A network ready for its first round, in training mode.

    The same seed gives the same weights; torch's global random state is left as it was. `weights_file` is a
    safetensors file for weights "file": the tensors of a release ("backbone....") or of torchvision's ResNet-18.
    Raises WeightsError when weights cannot be had or do not fit.
    """
    if (architecture.weights == "file") != (weights_file is not None):
        raise WeightsError(
            f'weights "{architecture.weights}" {"with" if weights_file else "without"} a weights file',
            where="architecture",
            fix='give a safetensors file with weights "file", and only then',
        )
    start = _starting_weights(architecture, weights_file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = skeleton(architecture, findings, has_fixed_norms(start))
    if isinstance(net.backbone, EfficientNetLite0):
        net.backbone.load_packaged()
    elif start:
        _fill(net.backbone, start, str(weights_file or architecture.weights))
    return net.train()


def has_fixed_norms(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are of a network whose batch norms were kept as fixed affine maps."""
    return any(name.endswith("running_mean") for name in tensors)


def _starting_weights(architecture: Architecture, weights_file: Path | None) -> dict[str, Tensor]:
    if architecture.weights == "torchvision":
        from .resnet import torchvision_weights

        return torchvision_weights()
    if weights_file is None:
        return {}
    try:
        tensors = load_file(weights_file)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"not a readable safetensors file ({error})", where=str(weights_file), fix="give an intact file"
        ) from None
    prefix = "backbone."
    if any(name.startswith(prefix) for name in tensors):
        tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if architecture.backbone == "resnet18":
        from .resnet import from_colour

        tensors = from_colour(tensors)
    return tensors


def _fill(backbone: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    expected = backbone.state_dict()
    for name in sorted(expected.keys() ^ tensors.keys()):
        state = "has no tensor" if name in expected else "has the unknown tensor"
        raise WeightsError(f"{state} {name}", where=where, fix="give weights of the same backbone and width")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"tensor {name} is {tuple(tensor.shape)} where the backbone has {tuple(expected[name].shape)}",
                where=where,
                fix="give weights of the same backbone and width",
            )
    backbone.load_state_dict(dict(tensors))
