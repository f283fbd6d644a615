"""One step's clipped sum of per-image gradients: ours beside plain training, and beside Opacus's four ways.

Time, memory and error of the same sum over the same images, without noise (noise is measured apart, beside
torch.randn). Plain training is one forward and one backward pass of the mean loss, which no private step can undercut.
Opacus: per-sample gradients by hooks, ghost clipping, expanded weights, and functorch. Where it fails, the reason is
given instead of figures.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from _harness import Cell, compare, cores, main, say
from opacus.grad_sample import (
    GradSampleModule,
    GradSampleModuleExpandedWeights,
    GradSampleModuleFastGradientClipping,
)
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.nn import functional as F

from medquorum.models.head import RegionHead
from medquorum.models.resnet import ResNet18
from medquorum.privacy.clipping import MARGIN, PatientRows, hooked, trainable
from medquorum.privacy.noise import gaussian
from medquorum.privacy.randomness import SecureRandomness

PLAIN = "plain training, no privacy"
OPACUS = ("hooks", "ghost", "ew", "functorch")
NOTES = [
    "time: one clipped sum (plain: one gradient) from images in memory, divided by the images; no noise, no update; "
    "timing the ways that a layer can go, once in a process, is not included",
    "memory: the most resident memory that one step needs beyond what is there before it",
    "error: of the clipped sum, beside float64 gradients one image at a time, relative to the sum's norm; the clip is "
    "the median norm, so that half of the images are clipped",
    "spread: smallest and largest ratio of the pairs of runs",
]

# Channels that EfficientNet-Lite0 gives at strides 8, 16 and 32, together.
_FEATURES = 472

Step = Callable[[], Tensor]


class SmallCNN(nn.Sequential):
    """About 100,000 parameters: the size that a hospital trains from scratch on a CPU."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, 32, 1), (32, 32, 2), (32, 64, 2), (64, 112, 2)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(112, 10))


class Classifier(nn.Module):
    """ResNet-18 with GroupNorm, pooled, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet18(fixed_norms=False)
        self.last = nn.Linear(512, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.backbone(images).mean(dim=(2, 3)))


class Head(nn.Module):
    """The region head on features of a frozen backbone, as a study with local privacy trains it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = RegionHead(_FEATURES, 10, "lse", 4.0)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(features).logits


class Subject:
    """One network and its images."""

    def __init__(self, name: str, net: Callable[[], nn.Module], batch: int, shape: tuple[int, ...]) -> None:
        torch.manual_seed(0)
        self.name, self.batch = name, batch
        self.net = net()
        self.bare = copy.deepcopy(self.net)  # never touched by our engine
        self.images = torch.randn(batch, *shape)
        self.labels = torch.randint(10, (batch,))
        self.rows = PatientRows(np.arange(batch), np.arange(batch + 1))
        self.values = sum(p.numel() for p in self.net.parameters())
        self.gradients = self._reference()
        self.clip = float(self.gradients.norm(dim=1).median())

    def losses(self, rows: Tensor) -> Tensor:
        return F.cross_entropy(self.net(self.images[rows]), self.labels[rows], reduction="none")

    def _reference(self) -> Tensor:
        """Each image's gradient (B, values) in float64, one image at a time."""
        net = copy.deepcopy(self.net).double()
        gradients: list[Tensor] = []
        for row in range(self.batch):
            net.zero_grad()
            output = net(self.images[row : row + 1].double())
            F.cross_entropy(output, self.labels[row : row + 1]).backward()
            gradients.append(_flat(net, {n: p.grad for n, p in net.named_parameters()}))
        return torch.stack(gradients)

    def error(self, found: Tensor, clip: float) -> float:
        norms = self.gradients.norm(dim=1)
        expected = (clip / norms).clamp(max=1.0) @ self.gradients
        return float((found.double() - expected).norm() / expected.norm())

    def plain(self) -> Tensor:
        """The mean gradient without privacy."""
        F.cross_entropy(self.bare(self.images[torch.arange(self.batch)]), self.labels).backward()
        self.bare.zero_grad()  # at the end, so that the memory of the gradients counts as the step's
        return torch.zeros(0)

    def plain_error(self) -> float:
        """What single precision alone costs: plain training's gradient beside float64."""
        F.cross_entropy(self.bare(self.images), self.labels).backward()
        found = _flat(self.bare, {n: p.grad for n, p in self.bare.named_parameters()})
        self.bare.zero_grad()
        expected = self.gradients.mean(dim=0)
        return float((found.double() - expected).norm() / expected.norm())

    def opacus(self, way: str) -> Step:
        """One clipped sum by Opacus, on a copy of the network."""
        net = copy.deepcopy(self.bare)
        ghost = way == "ghost"
        if ghost:
            module = GradSampleModuleFastGradientClipping(
                net, loss_reduction="sum", max_grad_norm=self.clip, use_ghost_clipping=True, strict=False
            )
        elif way == "ew":
            module = GradSampleModuleExpandedWeights(net, loss_reduction="sum")
        else:
            module = GradSampleModule(net, loss_reduction="sum", strict=False, force_functorch=way == "functorch")
        optimizer = DPOptimizer(
            torch.optim.SGD(module.parameters(), lr=0.0),
            noise_multiplier=0.0,
            max_grad_norm=self.clip,
            expected_batch_size=self.batch,
            loss_reduction="sum",
        )

        def step() -> Tensor:
            losses = F.cross_entropy(module(self.images), self.labels, reduction="none")
            if ghost:
                losses.sum().backward(retain_graph=True)
                scale = module.get_clipping_coef()
                for parameter in net.parameters():
                    parameter.grad = None
                module.disable_hooks()
                (scale * losses).sum().backward()
                module.enable_hooks()
                total = _flat(net, {n: p.grad for n, p in net.named_parameters()})
            else:
                losses.sum().backward()
                optimizer.clip_and_accumulate()
                total = _flat(net, {n: p.summed_grad for n, p in net.named_parameters()})
            for parameter in net.parameters():
                parameter.grad = parameter.grad_sample = parameter.summed_grad = None
            return total

        return step


def _flat(net: nn.Module, gradients: dict[str, Tensor | None]) -> Tensor:
    """In sorted-name order, as ours comes."""
    found = [gradients[name] for name in trainable(net)]
    return torch.cat([gradient.detach().reshape(-1) for gradient in found if gradient is not None])


def seconds(step: Callable[[], object], images: int) -> Callable[[], float]:
    """Milliseconds per image of one step."""

    def measured() -> float:
        start = time.perf_counter()
        step()
        return 1e3 * (time.perf_counter() - start) / images

    return measured


def memory(step: Callable[[], object]) -> Callable[[], float]:
    """MiB of resident memory that one step needs beyond what is there; not a number where the system cannot tell."""

    def measured() -> float:
        gc.collect()
        try:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            before = _resident("VmRSS")
            step()
            return (_resident("VmHWM") - before) / 1024
        except (OSError, AttributeError):
            return math.nan

    return measured


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def subjects(quick: bool) -> list[Callable[[], Subject]]:
    images = (16, 8, 2, 16) if quick else (64, 32, 8, 64)
    return [
        lambda: Subject("small CNN at 64 px", SmallCNN, images[0], (1, 64, 64)),
        lambda: Subject("ResNet-18 with GroupNorm at 64 px", Classifier, images[1], (1, 64, 64)),
        lambda: Subject("ResNet-18 with GroupNorm at 224 px", Classifier, images[2], (1, 224, 224)),
        lambda: Subject("head on a frozen backbone's features", Head, images[3], (_FEATURES, 12, 12)),
    ]


def cells_of(subject: Subject, threads: int, runs: int, ways: Sequence[str]) -> list[Cell]:
    """Time, memory and error of one network, ours beside each alternative."""
    name = f"{subject.name}, {subject.values:,} parameters, batch {subject.batch}, {threads} thread{'s'[: threads > 1]}"
    found: list[Cell] = []
    with ExitStack() as stack:
        engine = stack.enter_context(hooked(subject.net, subject.losses, subject.batch))

        def ours() -> Tensor:
            return torch.from_numpy(engine.clipped_sum(subject.rows, subject.clip).total)

        error = subject.error(ours(), subject.clip * (1.0 - MARGIN))
        found.append(_time(name, subject, ours, subject.plain, PLAIN, runs))
        found.append(_memory(name, ours, subject.plain, PLAIN, runs))
        found.append(_error(name, error, subject.plain_error(), PLAIN))
        for way in ways:
            label = f"Opacus, {way}"
            try:
                step = subject.opacus(way)
                theirs = subject.error(step(), subject.clip)
                found.append(_time(name, subject, ours, step, label, min(runs, 3)))
                found.append(_memory(name, ours, step, label, 1))
            except Exception as fault:
                reason = f"{name}: {label} fails: {type(fault).__name__}: {str(fault).strip().splitlines()[0][:160]}"
                say(reason)
                NOTES.append(reason)
                continue
            found.append(_error(name, error, theirs, label))
    return found


def _error(name: str, ours: float, theirs: float, label: str) -> Cell:
    ratio = ours / theirs if theirs else math.inf
    say(f"{name}: error {ours:.2g} against {theirs:.2g} by {label}")
    return Cell(f"{name}: error", ours, theirs, label, "relative error", ratio, 1, (ratio, ratio))


def _time(name: str, subject: Subject, ours: Step, theirs: Step, label: str, runs: int) -> Cell:
    images = subject.batch
    return compare(f"{name}: time", seconds(ours, images), seconds(theirs, images), label, "ms/image", "cost", runs)


def _memory(name: str, ours: Step, theirs: Step, label: str, runs: int) -> Cell:
    return compare(f"{name}: memory", memory(ours), memory(theirs), label, "MiB", "cost", min(runs, 3))


def noise_cell(values: int, runs: int) -> Cell:
    source = SecureRandomness()

    def per_value(draw: Callable[[], object]) -> Callable[[], float]:
        timed = seconds(draw, values)
        return lambda: 1e6 * timed()

    return compare(
        f"noise for {values:,} parameters",
        per_value(lambda: gaussian(values, 1.0, source)),
        per_value(lambda: torch.randn(values, dtype=torch.float64)),
        "torch.randn, neither secure nor safe",
        "ns/value",
        "cost",
        runs,
    )


def measure(quick: bool) -> Sequence[Cell]:
    warnings.filterwarnings("ignore")
    runs = 1 if quick else 7
    found = [noise_cell(100_000 if quick else 11_000_000, runs)]
    for threads in (1,) if quick else sorted({1, min(2, cores())}):
        torch.set_num_threads(threads)
        for make in subjects(quick):
            subject = make()
            large = quick and subject.values > 1_000_000
            found += cells_of(subject, threads, runs, OPACUS[:1] if large else OPACUS)
    return found


if __name__ == "__main__":
    main("dp_step", (__doc__ or "").splitlines()[0], measure, NOTES)
