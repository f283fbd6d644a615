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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _harness import Cell, compare, cores, main, say
from _sides import Holding, Noting
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
from medquorum.privacy.clipping import MARGIN, ClippedSum, PatientRows, hooked, trainable
from medquorum.privacy.noise import gaussian
from medquorum.privacy.randomness import SecureRandomness

PLAIN = "plain training, no privacy"
OPACUS = ("hooks", "ghost", "ew", "functorch")
NOTES = [
    "time: one clipped sum (plain: one gradient) from images in memory, divided by the images; no noise, no update; "
    "timing the ways that a layer can go, once in a process, is not included",
    "in one float64 vector: ours in the form that noise is added in; otherwise the sum is one single-precision tensor "
    "for each parameter, as plain training's gradient is",
    "memory: the most resident memory that one step needs beyond what is there before it",
    "error: of the clipped sum, beside float64 gradients one image at a time, relative to the sum's norm; the clip is "
    "the median norm, so that half of the images are clipped",
    "error on the same sides of all kinks: beside float64 gradients where every ReLU and max-pooling decides as in the "
    "single-precision pass",
    "spread: smallest and largest ratio of the pairs of runs",
]

# Channels that EfficientNet-Lite0 gives at strides 8, 16 and 32, together.
_FEATURES = 472

Step = Callable[[], object]


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
        self.gradients = torch.stack(list(self._by_image()))
        self.clip = float(self.gradients.norm(dim=1).median())

    def losses(self, rows: Tensor) -> Tensor:
        return F.cross_entropy(self.net(self.images[rows]), self.labels[rows], reduction="none")

    def _by_image(self, sides: Sequence[Tensor] = ()) -> Iterator[Tensor]:
        """Each image's gradient (values,) in float64, one image at a time; with the noted sides of kinks, if given."""
        net = copy.deepcopy(self.bare).double()
        for row in range(self.batch):
            net.zero_grad()
            with Holding(sides, row) if sides else nullcontext():
                output = net(self.images[row : row + 1].double())
            F.cross_entropy(output, self.labels[row : row + 1]).backward()
            yield _flat(net, {n: p.grad for n, p in net.named_parameters()})

    def clipped(self, clip: float) -> Tensor:
        """The clipped sum in float64."""
        return (clip / self.gradients.norm(dim=1)).clamp(max=1.0) @ self.gradients

    def clipped_on(self, sides: Sequence[Tensor], clip: float) -> Tensor:
        """The same on the noted sides of all kinks."""
        return self._total(gradient * (clip / gradient.norm()).clamp(max=1.0) for gradient in self._by_image(sides))

    def mean_on(self, sides: Sequence[Tensor]) -> Tensor:
        return self._total(gradient / self.batch for gradient in self._by_image(sides))

    def _total(self, gradients: Iterable[Tensor]) -> Tensor:
        total = torch.zeros(self.values, dtype=torch.float64)
        for gradient in gradients:
            total += gradient
        return total

    def plain(self) -> None:
        """The mean gradient without privacy."""
        F.cross_entropy(self.bare(self.images[torch.arange(self.batch)]), self.labels).backward()
        self.bare.zero_grad()  # at the end, so that the memory of the gradients counts as the step's

    def plain_gradient(self) -> Tensor:
        """The same, kept: what single precision alone costs shows in it."""
        F.cross_entropy(self.bare(self.images), self.labels).backward()
        found = _flat(self.bare, {n: p.grad for n, p in self.bare.named_parameters()})
        self.bare.zero_grad()
        return found

    def opacus(self, way: str) -> Callable[[], Tensor]:
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


def error(found: Tensor, expected: Tensor) -> float:
    """The relative error of a sum."""
    return float((found.double() - expected).norm() / expected.norm())


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


# By the name of its part: the network, what it is, its images (in a quick run), and the shape of one.
SUBJECTS: dict[str, tuple[str, Callable[[], nn.Module], tuple[int, int], tuple[int, ...]]] = {
    "small": ("small CNN at 64 px", SmallCNN, (64, 16), (1, 64, 64)),
    "resnet64": ("ResNet-18 with GroupNorm at 64 px", Classifier, (32, 8), (1, 64, 64)),
    "resnet224": ("ResNet-18 with GroupNorm at 224 px", Classifier, (8, 2), (1, 224, 224)),
    "head": ("head on a frozen backbone's features", Head, (64, 16), (_FEATURES, 12, 12)),
}


def cells_of(subject: Subject, threads: int, runs: int, ways: Sequence[str]) -> list[Cell]:
    """Time, memory and error of one network, ours beside each alternative."""
    name = f"{subject.name}, {subject.values:,} parameters, batch {subject.batch}, {threads} thread{'s'[: threads > 1]}"
    found: list[Cell] = []
    with ExitStack() as stack:
        engine = stack.enter_context(hooked(subject.net, subject.losses, subject.batch))

        def ours() -> ClippedSum:
            return engine.clipped_sum(subject.rows, subject.clip)

        def vector() -> Tensor:
            return torch.from_numpy(ours().total)

        clip = subject.clip * (1.0 - MARGIN)
        mine = error(vector(), subject.clipped(clip))
        found.append(_time(name, subject, ours, subject.plain, PLAIN, runs))
        found.append(_memory(name, ours, subject.plain, PLAIN, runs))
        found.append(_error(f"{name}: error", mine, error(subject.plain_gradient(), subject.gradients.mean(dim=0))))
        found.append(_time(f"{name}, in one float64 vector", subject, vector, subject.plain, PLAIN, runs))
        found.append(_memory(f"{name}, in one float64 vector", vector, subject.plain, PLAIN, runs))
        with Noting() as sides_of_ours:
            total = vector()
        with Noting() as sides_of_plain:
            gradient = subject.plain_gradient()
        held = error(total, subject.clipped_on(sides_of_ours.sides, clip))
        theirs = error(gradient, subject.mean_on(sides_of_plain.sides))
        found.append(_error(f"{name}: error on the same sides of all kinks", held, theirs))
        for way in ways:
            label = f"Opacus, {way}"
            try:
                step = subject.opacus(way)
                theirs = error(step(), subject.clipped(subject.clip))
                found.append(_time(name, subject, ours, step, label, min(runs, 3)))
                found.append(_memory(name, ours, step, label, 1))
            except Exception as fault:
                reason = f"{name}: {label} fails: {type(fault).__name__}: {str(fault).strip().splitlines()[0][:160]}"
                say(reason)
                NOTES.append(reason)
                continue
            found.append(_error(f"{name}: error", mine, theirs, label))
    return found


def _error(case: str, ours: float, theirs: float, label: str = PLAIN) -> Cell:
    ratio = ours / theirs if theirs else math.inf
    say(f"{case} {ours:.2g} against {theirs:.2g} by {label}")
    return Cell(case, ours, theirs, label, "relative error", ratio, 1, (ratio, ratio))


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


def noise(quick: bool) -> Sequence[Cell]:
    return [noise_cell(100_000 if quick else 11_000_000, 1 if quick else 7)]


def network(part: str, threads: int, quick: bool) -> Sequence[Cell]:
    if quick and threads > 1:
        return []
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)
    name, net, batch, shape = SUBJECTS[part]
    subject = Subject(name, net, batch[quick], shape)
    large = quick and subject.values > 1_000_000
    return cells_of(subject, threads, 1 if quick else 7, OPACUS[:1] if large else OPACUS)


PARTS: dict[str, Callable[[bool], Sequence[Cell]]] = {"noise": noise} | {
    f"{part}-{threads}": partial(network, part, threads)
    for threads in sorted({1, min(2, cores())})
    for part in SUBJECTS
}


if __name__ == "__main__":
    main("dp_step", (__doc__ or "").splitlines()[0], PARTS, NOTES)
