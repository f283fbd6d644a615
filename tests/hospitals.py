"""Tiny hospitals for tests of the federation: real nodes with a few grey squares, bright where the finding is."""

from __future__ import annotations

import io
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from medquorum.client.annotations import Annotation, new_id
from medquorum.client.node import Node
from medquorum.client.policy import Policy
from medquorum.client.rights import SimulationRights
from medquorum.client.store import NewInstance
from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.models.checkpoint import Release
from medquorum.models.network import build
from medquorum.privacy.plan import EvaluationTerms, Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.task import Finding, Task

SIZE = 32
HELD_OUT = 4
EVALUATION = EvaluationTerms(10, 1, 1.0)
RIGHTS = SimulationRights(seed=11)
TASK = Task((Finding("nodule", "SCT", "27925004", "Nodule"),), "DX")
SIDED_TASK = Task(
    (*Finding("effusion", "SCT", "60046008", "Pleural effusion").of_sides(["L", "R"]), *TASK.findings), "DX"
)
OPEN_POLICY = Policy(plan_epsilon=50.0, modes=("none", "local", "distributed"), minimum_quorum=1)


def make_release(seed: int = 3, width: int = 8, task: Task = TASK) -> Release:
    """A small network with random weights for the one finding, or for those of another task."""
    architecture = Architecture("small", "random", frozen=False, width=width, pooling="mean", sharpness=4.0)
    many = len(task.findings)
    card = ModelCard(task, architecture, InputTransform(SIZE, 0.5, 0.25), (1.0,) * many)
    return Release.of(build(architecture, many, seed), card)


def make_frozen_release(folder: Path, width: int = 8, **changes: object) -> Release:
    """A small backbone with random weights, which are kept in the folder and frozen; a head for the one finding.

    changes: of the architecture.
    """
    start = build(Architecture("small", "random", False, width, "mean", 4.0), 1, 5)
    file = folder / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in start.backbone.state_dict().items()}, file)
    architecture = Architecture("small", "file", True, width, "mean", 4.0, **changes)  # pyright: ignore[reportArgumentType]
    card = ModelCard(TASK, architecture, InputTransform(SIZE, 0.5, 0.25), (1.0,))
    return Release.of(build(architecture, 1, 1, file), card)


@contextmanager
def spendthrift(root: Path, patients: Mapping[str, int]) -> Generator[dict[str, Node]]:
    """Open nodes by site, with so many training patients, which agree to plans of any epsilon."""
    policy = replace(OPEN_POLICY, plan_epsilon=1e6)
    with ExitStack() as opened:
        yield {
            site: opened.enter_context(make_node(root / site, site, patients=count, policy=policy, epsilon_cap=1e12))
            for site, count in patients.items()
        }


def make_training(**changes: object) -> TrainingTerms:
    """FedAvg, two local steps without momentum."""
    plain = TrainingTerms(
        strategy="fedavg",
        local_steps=2,
        learning_rate=0.1,
        momentum=0.0,
        proximal=0.0,
        finding_weights=(1.0,),
        region_weight=0.0,
        augmentation=False,
        server_learning_rate=1.0,
        server_beta1=0.9,
        server_beta2=0.99,
        server_tau=1e-3,
    )
    return replace(plain, **changes)  # pyright: ignore[reportArgumentType]


def make_privacy(**changes: object) -> PrivacyTerms:
    """Local noise that leaves a margin for retries: three rounds of two steps cost about a third of the epsilon."""
    plain = PrivacyTerms(
        mode="local",
        epsilon=30.0,
        delta=1e-3,
        clip=1.0,
        noise_multiplier=1.0,
        max_noise_multiplier=10.0,
        sampling_rate=1.0,
        patient_images="mean",
    )
    return replace(plain, **changes)  # pyright: ignore[reportArgumentType]


def make_plan(release: Release, sites: Mapping[str, int], **changes: object) -> Plan:
    """Three rounds, each evaluated in 10 bins, all sites needed."""
    plain = Plan(
        consortium="tests",
        name="tiny",
        task=TASK,
        release=release.hash,
        sites=tuple(PlanSite(name, patients, HELD_OUT) for name, patients in sites.items()),
        quorum=len(sites),
        rounds=3,
        training=make_training(),
        privacy=make_privacy(),
        evaluation=EVALUATION,
        seed=5,
    )
    return replace(plain, **changes)  # pyright: ignore[reportArgumentType]


def square(present: bool, number: int) -> bytes:
    """A noisy grey square as PNG, with a bright spot when present."""
    draw = np.random.default_rng(number)
    image = 90.0 + 20.0 * draw.standard_normal((SIZE, SIZE))
    if present:
        row, column = draw.integers(6, SIZE - 12, 2)
        image[row : row + 8, column : column + 8] += 110.0
    target = io.BytesIO()
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(target, "PNG")
    return target.getvalue()


def make_node(
    folder: Path,
    site: str,
    patients: int = 8,
    held_out: int = 4,
    policy: Policy = OPEN_POLICY,
    rights: SimulationRights | None = RIGHTS,
    epsilon_cap: float = 100.0,
    images: int = 2,
) -> Node:
    """An open node with `patients` for training and `held_out` more, every second of them with the finding."""
    node = Node.create(folder, site, policy, epsilon_cap=epsilon_cap, delta=0.1, held_out_share=0.0, simulation=rights)
    fill_node(node, site, patients, held_out, images)
    return node


def fill_node(node: Node, site: str, patients: int, held_out: int, images: int, mark: str = "") -> None:
    """Put `patients` for training and `held_out` more into a node, each with a reading. mark: put into everything that
    names a patient, a file or a reader."""
    kept: list[str] = []
    for number in range(patients + held_out):
        for image in range(images):
            # Seeded by name and number, so that the same hospital is made twice alike.
            seed = sum(site.encode()) * 10_000 + 10 * number + image
            stored = node.store.add(
                NewInstance(
                    "tests",
                    f"{mark}{site}-{number}",
                    f"1.2.{number}",
                    f"1.2.{number}.{image}",
                    f"1.2.{sum(site.encode())}.{number}.{image}",
                    "DX",
                    "",
                    "",
                    "",
                    SIZE,
                    SIZE,
                    1,
                    "",
                    f"{mark}{number}-{image}.png",
                    "png",
                    square(number % 2 == 0, seed),
                )
            )
            state = "present" if number % 2 == 0 else "absent"
            node.store.annotate(
                Annotation(
                    new_id(),
                    stored.instance,
                    0,
                    f"{mark}reader",
                    datetime(2026, 1, 1, tzinfo=UTC),
                    None,
                    None,
                    (("nodule", state),),
                    (),
                    1,
                    2.0,
                    None,
                )
            )
            if number >= patients:
                kept.append(stored.patient)
    node.store.set_held_out(sorted(set(kept)), True)
