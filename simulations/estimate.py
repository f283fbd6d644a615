"""What a study will need at least, said before it runs: memory from the size of its arrays, time from a short trial.

Memory counts what is certainly held at once: the process with its libraries, every image's input (features of a frozen
backbone, else the image), and the hospitals' own copies of the rows they train on. It is a lower bound, so that a study
that is refused could not have run.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..models.checkpoint import Release
from .compare.features import may_pool
from .errors import StudyRefusedError
from .report import figures
from .study import Study

_LIBRARIES = 450_000_000
"""Bytes of a process that has imported torch, flwr and ours, and holds a network; measured on Linux."""
_TRIAL_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Cost:
    """What one training takes: bytes of memory at least, and seconds, about. prepare: seconds to import all images and
    look at them through a frozen backbone, which is done once for all trainings that share it."""

    memory: int
    seconds: float
    prepare: float


def row_bytes(study: Study, release: Release) -> int:
    """Bytes of one image as trainings hold it."""
    net = release.network()
    size = study.model.transform.size
    if not net.frozen:
        return 4 * size * size
    import torch

    with torch.inference_mode():
        features = net.features(torch.zeros(1, 1, size, size))
    return 4 * features.shape[1] if may_pool(study, release) else 2 * features.numel()


def memory_of(study: Study, release: Release, images: int) -> int:
    """Bytes that a training of `study` on `images` images holds at least."""
    held_by_hospitals = images * (1.0 - study.sites.held_out) * study.sites.train_share
    return _LIBRARIES + int((images + held_by_hospitals) * row_bytes(study, release))


def free_memory() -> int:
    """Bytes that this process and its children may still take: what the machine has available, or less where a
    control group allows less."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used = _lines(group / "memory.max"), _lines(group / "memory.current")
    if limit and used and limit[0].isdigit():
        free = min(free, max(0, int(limit[0]) - int(used[0])))
    return free


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def require_memory(study: Study, memory: int, jobs: int = 1) -> None:
    """StudyRefusedError when `jobs` trainings at once need more than is free."""
    free = free_memory()
    if memory * jobs <= free:
        return
    fits = free // memory
    at_once = f"{jobs} trainings at once need" if jobs > 1 else "the study needs"
    fix = f"give --jobs {fits}" if fits else "use fewer images, a smaller model.size, or a machine with more memory"
    raise StudyRefusedError(
        f"{at_once} at least {figures.size(memory * jobs)} of memory, and {figures.size(free)} is free",
        where=str(study.file),
        fix=fix,
    )


def cost_of(study: Study, release: Release, images: int, train_images: int) -> Cost:
    """What one federated training of `study` takes, from a trial of a second or so on made-up images.

    images: all that take part; train_images: those trained on. A step is counted as three passes of the trained part
    over its images, one forward and two backward; scoring as one over all images and fifty milliseconds a hundred
    held-out images for the bootstrap draws.
    """
    import torch

    size, findings = study.model.transform.size, len(study.task.findings)
    net = release.network().eval()
    pictures = torch.zeros(_TRIAL_IMAGES, 1, size, size)
    with torch.inference_mode():
        net.features(pictures)  # the first call pays for what is made once
        began = time.perf_counter()
        rows = net.features(pictures) if net.frozen else pictures
        look = (time.perf_counter() - began) / _TRIAL_IMAGES
        module = net.trainable()
        module(rows)
        began = time.perf_counter()
        module(rows)
        forward = (time.perf_counter() - began) / _TRIAL_IMAGES
    steps = study.plan.rounds * study.plan.local_steps
    shown = train_images * study.plan.sampling_rate * study.plan.recipe.views
    scoring = images * forward + 5e-4 * findings * (images - train_images)
    seconds = 3.0 * forward * steps * shown + scoring + 0.05 * study.plan.rounds
    # Reading, decoding and encrypting a radiograph of a few hundred pixels a side takes about this on one core.
    return Cost(memory_of(study, release, images), seconds, images * (look + 0.01))
