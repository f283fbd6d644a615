"""A phantom hospital: its patients, each with one to three images, written as DICOM files, and the truth about them."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .anatomy import draw_bodies, draw_chests
from .dicom import Header, encode
from .findings import PLANTERS
from .vendor import VENDORS, render, resample

_BATCH = 48


@dataclass(frozen=True, slots=True)
class PhantomHospital:
    """What to generate: a name, a number of patients, a device (a key of VENDORS), each finding's prevalence among
    patients (by key), how visible the findings are (1 is plain; the contrast scales with it), and the share of
    unreadable files that are put among the good ones."""

    name: str
    patients: int
    vendor: str
    prevalence: tuple[tuple[str, float], ...]
    visibility: float
    damaged: float


@dataclass(frozen=True, slots=True)
class PhantomImage:
    """The truth about one written file: `source` relative to the hospital's folder, the patient's identifier, and
    for each finding whether it is present and its mask (rows, columns), None when absent."""

    source: str
    patient: str
    present: tuple[tuple[str, bool], ...]
    masks: tuple[tuple[str, NDArray[np.bool_] | None], ...]


def write_hospital(
    folder: Path, hospital: PhantomHospital, number: int, seed: int, advance: Callable[[int], None] | None = None
) -> list[PhantomImage]:
    """Write `hospital` (the study's `number`-th) under `folder` and return the truth about every good image.

    The same seed and number give the same files. `advance` is told how many images are written so far.
    """
    vendor = VENDORS[hospital.vendor]
    generator = np.random.default_rng([seed, number, 0x9A17])
    bodies = draw_bodies(generator, hospital.patients)
    has = {key: generator.random(hospital.patients) < share for key, share in hospital.prevalence}
    severity = {
        key: (hospital.visibility * generator.lognormal(0.0, 0.25, hospital.patients)).astype(np.float32)
        for key, _ in hospital.prevalence
    }
    ages = np.clip(generator.normal(56.0, 17.0, hospital.patients), 18, 95).astype(int)
    sexes = generator.choice(["F", "M"], hospital.patients)
    images = generator.choice([1, 2, 3], hospital.patients, p=[0.55, 0.30, 0.15])
    rows = np.repeat(np.arange(hospital.patients), images)
    within = np.concatenate([np.arange(1, count + 1) for count in images])
    first_day = datetime.date(2024, 1, 1)

    truth: list[PhantomImage] = []
    for start in range(0, rows.size, _BATCH):
        batch = rows[start : start + _BATCH]
        chests = draw_chests(generator, bodies.take(batch))
        attenuation = chests.attenuation
        masks: dict[str, NDArray[np.bool_]] = {}
        for key, _ in hospital.prevalence:
            strength = np.where(has[key][batch], severity[key][batch], 0.0).astype(np.float32)
            added, mask = PLANTERS[key](generator, chests, strength)
            attenuation = attenuation + added
            masks[key] = resample(mask.astype(np.float32), vendor.rows, vendor.columns) > 0.5
        pixels, windows = render(generator, vendor, attenuation)
        for offset, patient in enumerate(batch):
            row = start + offset
            day = first_day + datetime.timedelta(days=int(patient) % 365)
            header = Header(
                hospital=hospital.name,
                patient=int(patient) + 1,
                age=int(ages[patient]),
                sex=str(sexes[patient]),
                image=int(within[row]),
                date=day.strftime("%Y%m%d"),
                view="AP" if hospital.vendor == "dunelight" else "PA",
            )
            source = f"patient_{patient + 1:05d}/image_{within[row]}.dcm"
            path = folder / source
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(header, vendor, pixels[offset], windows[offset], (seed, number)))
            truth.append(
                PhantomImage(
                    source=source,
                    patient=f"INV-{number:02d}-{patient + 1:05d}",
                    present=tuple((key, bool(has[key][patient])) for key, _ in hospital.prevalence),
                    masks=tuple(
                        (key, masks[key][offset] if has[key][patient] else None) for key, _ in hospital.prevalence
                    ),
                )
            )
        if advance is not None:
            advance(len(truth))
    _damage(folder, truth, round(hospital.damaged * len(truth)), generator)
    return truth


def _damage(folder: Path, truth: list[PhantomImage], count: int, generator: np.random.Generator) -> None:
    """Put `count` truncated copies of good files among them, as disks and transfers do."""
    for index, row in enumerate(generator.choice(len(truth), count, replace=False)):
        content = (folder / truth[int(row)].source).read_bytes()
        path = folder / "damaged" / f"truncated_{index + 1}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[: len(content) // 3])
