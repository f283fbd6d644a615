"""The images of a study as every training of the comparison takes them, made once.

Images are imported by the hospitals' own nodes, with all their checks, and looked at by the frozen backbone once. What
comes out is kept beside the comparison's folder, read-only, under a name made of the data and of what the backbone
computes: another comparison on the same data with the same network reads it back. It is not encrypted: it stands
beside a researcher's own folder of images, which is not either.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ...client.applicability import why_not_applicable
from ...client.inputs import Failed, Inputs
from ...client.training_set import frozen_hash
from ...models.checkpoint import Release
from ...models.network import FindingNet
from ..data import Hospital
from ..errors import StudyError
from ..sites import Case, open_site
from ..study import Study
from ..terms import PhantomData, TableData

FOLDER = "medquorum-features"
_BATCH = 32
_FORMAT = "3"


@dataclass(frozen=True, slots=True)
class Picture:
    """One usable image: its key (see `key_of`), its stored size, and the side that its own headers state."""

    key: str
    rows: int
    columns: int
    laterality: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Every usable image. inputs (N, C, h, w): features of the frozen backbone, else images (N, 1, S, S). grid: rows
    and columns of the network's maps for region targets, whatever the grid of `inputs`. left_out: what could not be
    used, with its reason. pooled: whether features were averaged over the grid, which mean pooling makes no
    difference to. seen: the images themselves (N, 1, S, S) where `inputs` are features and a network needs both."""

    pictures: tuple[Picture, ...]
    inputs: NDArray[np.float32] | NDArray[np.float16]
    grid: tuple[int, int]
    left_out: tuple[tuple[str, str], ...]
    pooled: bool
    seen: NDArray[np.float16] | None = None


def key_of(study: Study, hospital: Hospital, source: str) -> str:
    """Names an image in whatever hospital a seed puts it; phantom hospitals repeat their files' names."""
    return f"{hospital.name}/{source}" if isinstance(study.data, PhantomData) else source


def data_hash(study: Study, data: Path | None, hospitals: Sequence[Hospital]) -> str:
    """SHA-256, in hex, over the table and every image and mask that it names; over their recipe for phantoms."""
    digest = hashlib.sha256()
    if not isinstance(study.data, TableData) or data is None:
        digest.update(repr((study.data, study.seed)).encode())
    else:
        digest.update((data / study.data.csv).read_bytes())
        for folder in sorted({hospital.folder for hospital in hospitals}) if study.data.kind == "table" else (data,):
            names = sorted({source for hospital in hospitals for source in hospital.truths})
            for name in names:
                digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
        for name in _masks(study.data, data):
            digest.update(hashlib.sha256((data / name).read_bytes()).digest())
    return digest.hexdigest()


def _masks(terms: TableData, data: Path) -> list[str]:
    import csv

    if not terms.mask:
        return []
    with (data / terms.csv).open(newline="", encoding="utf-8-sig") as handle:
        named = {(row.get(terms.mask) or "").strip() for row in csv.DictReader(handle)}
    return sorted(name for name in named if name and (data / name).is_file())


def may_pool(study: Study, release: Release) -> bool:
    """Whether averaging the features over the grid changes nothing but the time: the head pools by the mean, learns
    from no region, no block before it is trained, and nobody asks where it points."""
    architecture = release.card.architecture
    masks = study.data.mask if isinstance(study.data, TableData) else "phantoms"
    linear = architecture.frozen and architecture.trained_blocks == 0 and architecture.pooling == "mean"
    return linear and study.plan.region_weight == 0.0 and not masks


def load_images(
    study: Study,
    release: Release,
    hospitals: Sequence[Hospital],
    data: str,
    beside: Path,
    work: Path,
    advance: Callable[[int], None],
) -> Images:
    """The images, from the cache in `beside`, or imported, computed and kept there.

    work: a folder on the same disk for what is not finished. `advance` is told how many are done. StudyError when what
    is kept cannot be read.
    """
    folder = kept_in(study, release, data, beside)
    if not folder.exists():
        place = work / "features"
        place.mkdir(parents=True)
        # Whom a study leaves aside another may train on.
        everybody = replace(study, sites=replace(study.sites, train_share=1.0))
        net = release.network().eval()
        _make(everybody, release, net, may_pool(study, release), hospitals, place, advance)
        shutil.rmtree(place / "nodes")
        for file in place.iterdir():
            file.chmod(0o444)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Another comparison may have made the same meanwhile: a folder with something in it is never replaced.
        with suppress(OSError):
            place.rename(folder)
    return _read(folder)


def kept_in(study: Study, release: Release, data: str, beside: Path) -> Path:
    """The folder in `beside` where the images are kept once they are made."""
    net = release.network().eval()
    task = study.task
    words = (
        _FORMAT,
        data,
        frozen_hash(net, release.card) if net.frozen else repr(release.card.transform),
        repr((task.modality, task.body_part, task.view, net.frozen, may_pool(study, release))),
    )
    return beside / FOLDER / hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]


def _make(
    study: Study,
    release: Release,
    net: FindingNet,
    pooled: bool,
    hospitals: Sequence[Hospital],
    place: Path,
    advance: Callable[[int], None],
) -> None:
    """Import every hospital into a node of its own and write inputs.npy, images.json and, where the network looks at
    images after its features too, seen.npy into `place`."""
    import torch

    pictures: list[Picture] = []
    left_out: list[tuple[str, str]] = []
    parts: list[NDArray[np.float32] | NDArray[np.float16]] = []
    seen: list[NDArray[np.float16]] = []
    done = 0
    for number, hospital in enumerate(hospitals):
        site = open_site(study, hospital, number, place / "nodes" / str(number), len(hospitals), lambda _: None)
        try:
            left_out += [(one.source, one.reason) for one in site.intake.quarantined]
            # A node stores equal files once; they are counted, for nothing is dropped silently.
            settled = {case.row.source for case in site.cases} | {one.source for one in site.intake.quarantined}
            left_out += [
                (source, "another file has the same content") for source in sorted(hospital.truths.keys() - settled)
            ]
            inputs = Inputs(site.node.store, release.card.transform)
            for start in range(0, len(site.cases), _BATCH):
                batch = site.cases[start : start + _BATCH]
                kept, arrays = _look(study, inputs, batch, left_out)
                pictures += [
                    Picture(key_of(study, hospital, one.row.source), one.row.rows, one.row.columns, one.row.laterality)
                    for one in kept
                ]
                if arrays and net.frozen:
                    with torch.inference_mode():
                        # Rounded as production's own cache rounds them, before anything else.
                        features = net.features(torch.from_numpy(np.stack(arrays))).half()
                        if pooled:
                            features = features.float().mean(dim=(2, 3), keepdim=True)
                        parts.append(features.numpy())
                    if net.fine:
                        seen.append(np.stack(arrays).astype(np.float16))
                elif arrays:
                    parts.append(np.stack(arrays))
                done += len(batch)
                advance(done)
        finally:
            site.close()
    np.save(place / "inputs.npy", np.concatenate(parts))
    if seen:
        np.save(place / "seen.npy", np.concatenate(seen))
    about = {
        "grid": net.grid(release.card.transform.size),
        "pooled": pooled,
        "images": [[one.key, one.rows, one.columns, one.laterality] for one in pictures],
        "left_out": left_out,
    }
    (place / "images.json").write_text(json.dumps(about), encoding="utf-8")


def _look(
    study: Study, inputs: Inputs, cases: Sequence[Case], left_out: list[tuple[str, str]]
) -> tuple[list[Case], list[NDArray[np.float32]]]:
    """The images that the task is asked of and that decode, with their inputs; the others go to `left_out`."""
    asked: list[Case] = []
    for case in cases:
        reason = why_not_applicable(study.task, case.row)
        if reason:
            left_out.append((case.row.source, reason))
        else:
            asked.append(case)
    kept: list[Case] = []
    arrays: list[NDArray[np.float32]] = []
    for case, found in zip(asked, inputs.load([(case.row, 0) for case in asked]), strict=True):
        if isinstance(found, Failed):
            left_out.append((found.source, found.reason))
        else:
            kept.append(case)
            arrays.append(found)
    return kept, arrays


def _read(folder: Path) -> Images:
    try:
        about = cast(dict[str, object], json.loads((folder / "images.json").read_bytes()))
        grid = cast(list[int], about["grid"])
        return Images(
            pictures=tuple(Picture(*one) for one in cast(list[tuple[str, int, int, str]], about["images"])),
            inputs=np.load(folder / "inputs.npy", mmap_mode="c"),
            grid=(grid[0], grid[1]),
            left_out=tuple((one[0], one[1]) for one in cast(list[list[str]], about["left_out"])),
            pooled=bool(about["pooled"]),
            seen=np.load(folder / "seen.npy", mmap_mode="c") if (folder / "seen.npy").exists() else None,
        )
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(
            f"the kept features cannot be read: {error}",
            where=str(folder),
            fix="delete that folder; they are made anew",
        ) from None
