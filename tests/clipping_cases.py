"""Patients with some images each, for tests of clipped sums: ours, and one patient at a time in float64."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from medquorum.privacy.clipping import MARGIN, Engine, PatientRows, hooked, trainable


class Case:
    """A network of square images of 8 pixels, and a loss of one term an image. images: how many each patient has."""

    def __init__(self, net: nn.Module, images: list[int], seed: int, scale: float = 1.0, channels: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.net = net
        self.inputs = scale * torch.randn(sum(images), channels, 8, 8, generator=generator)
        self.targets = torch.rand(sum(images), 1, generator=generator)
        self.offsets = np.concatenate([[0], np.cumsum(images)]).astype(np.int64)
        self.everyone = list(range(len(images)))

    def batch(self, patients: list[int]) -> PatientRows:
        rows = [np.arange(self.offsets[p], self.offsets[p + 1]) for p in patients]
        counts = [row.size for row in rows]
        return PatientRows(
            np.concatenate([np.zeros(0, dtype=np.int64), *rows]),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        )

    def losses(self, rows: Tensor, net: nn.Module | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        output = (net or self.net)(self.inputs[rows].to(dtype))
        return (output - self.targets[rows].to(dtype)).square().sum(dim=1)

    def sum(self, patients: list[int], clip: float, at_once: int = 64, engine: Engine = "exact") -> np.ndarray:
        with hooked(self.net, self.losses, at_once, engine) as gradients:
            return gradients.clipped_sum(self.batch(patients), clip).total

    def reference(self, patients: list[int], clip: float) -> np.ndarray:
        """One patient at a time, in float64, by autograd alone."""
        net = copy.deepcopy(self.net).double()
        total = np.zeros(sum(p.numel() for p in trainable(net).values()))
        for patient in patients:
            rows = torch.arange(int(self.offsets[patient]), int(self.offsets[patient + 1]))
            net.zero_grad()
            self.losses(rows, net, torch.float64).mean().backward()
            gradient = torch.cat([p.grad.reshape(-1) for p in trainable(net).values() if p.grad is not None]).numpy()
            norm = float(np.linalg.norm(gradient))
            total += gradient * min(1.0, clip * (1.0 - MARGIN) / norm) if norm else gradient
        return total
