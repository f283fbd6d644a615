"""What is measured: the small CNN, untrained, and generated radiographs as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
from dicom_files import dicom
from numpy.typing import NDArray
from PIL import Image

from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.models.checkpoint import Release
from medquorum.models.network import build
from medquorum.task import Finding, Task


def release(size: int) -> Release:
    """The small CNN for inputs of size x size, untrained: its speed does not depend on what it has learnt."""
    task = Task((Finding("pneumonia", "SCT", "233604007", "Pneumonia"),), "DX")
    architecture = Architecture("small", "random", False, 32, "lse", 4.0)
    card = ModelCard(task, architecture, InputTransform(size, 0.5, 0.25), (1.0,))
    return Release.of(build(architecture, 1, seed=7), card)


def radiograph(generator: np.random.Generator, side: int) -> NDArray[np.uint16]:
    """A smooth random field of 12 bits (side, side) with a little noise: decodes and compresses like a radiograph."""
    coarse = Image.fromarray(generator.random((12, 12), dtype=np.float32))
    field = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return np.clip(field * 3500 + generator.normal(250, 20, (side, side)), 0, 4095).astype(np.uint16)


def dicom_of_12_bits(pixels: NDArray[np.uint16], number: int, **elements: Any) -> bytes:
    """A radiograph as a DX file, with more elements by keyword."""
    return dicom(pixels, number, BitsStored=12, HighBit=11, **elements)
