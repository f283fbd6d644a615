"""Results and originals for the tests of the way back to the PACS, made by hand: no network, no real patient."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from hospitals import make_release
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medquorum.client.annotations import Box, Mask, Region
from medquorum.client.deidentify.original import Original
from medquorum.client.export.objects import Made, What, Workshop
from medquorum.client.export.results import Device, Person, Place, Result, Said
from medquorum.client.export.structured_report import Signature
from medquorum.client.store import InstanceRow
from medquorum.models.checkpoint import Release
from medquorum.task import Finding

ROWS, COLUMNS = 40, 50
NODULE = Finding("nodule", "SCT", "27925004", "Nodule")
EFFUSION = Finding("effusion", "SCT", "60046008", "Pleural effusion")
MODEL = Device("ab" * 32, "chest 2026")
READER = Person("Dr. Ada Lovelace")
AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
ORIGINAL = Original(
    patient_id="P-4711",
    issuer_of_patient_id="HOSPITAL",
    patient_name="Müller^Änne",
    patient_birth_date="19500101",
    patient_sex="F",
    study_uid="1.2.3.4",
    series_uid="1.2.3.4.1",
    sop_uid="1.2.3.4.1.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
    accession_number="ACC9",
    study_date="20240102",
    study_time="101500",
    study_id="ST1",
    referring_physician_name="Ref^Doc",
    modality="DX",
    patient_orientation="L\\F",
    rows=ROWS,
    columns=COLUMNS,
)
WORKSHOP = Workshop("2.25.1234", "St. Anna", "0.1.0")
SIGNATURE = Signature("Grace Hopper", "St. Anna", AT)
LEFT, RIGHT = EFFUSION.of_sides(["L", "R"])


def make_row(frames: int = 1, **changes: Any) -> InstanceRow:
    """A stored image of 40 rows and 50 columns."""
    row = InstanceRow(
        "ab" * 16, "cd" * 16, "2.25.9", "DX", "CHEST", "PA", "", ROWS, COLUMNS, frames, "dicom", "x.dcm", False
    )
    return replace(row, **changes)


def make_mask() -> Mask:
    """An L of 22 pixels."""
    bits = np.zeros((ROWS, COLUMNS), np.bool_)
    bits[3:13, 7] = True
    bits[12, 8:20] = True
    return Mask.of(bits)


def make_result(observer: Device | Person = READER, **changes: Any) -> Result:
    """A nodule with a box and a mask, and an effusion that is absent; the model gives its chances as well."""
    chances = (0.75, 0.0625) if isinstance(observer, Device) else (None, None)
    origin = "proposed" if isinstance(observer, Device) else "drawn"
    plain = Result(
        id="11" * 16,
        instance=make_row(),
        frame=0,
        observer=observer,
        at=AT,
        said=(Said(NODULE, "present", chances[0]), Said(EFFUSION, "absent", chances[1])),
        places=(
            Place(NODULE, Region("nodule", Box(1.25, 2.0, 10.0, 20.5), origin)),
            Place(NODULE, Region("nodule", make_mask(), origin)),
        ),
    )
    return replace(plain, **changes)


def sided_result(observer: Device | Person = READER, **changes: Any) -> Result:
    """An effusion on the left in two places and none on the right, and a nodule with a box."""
    plain = make_result(
        observer,
        said=(Said(LEFT, "present"), Said(RIGHT, "absent"), Said(NODULE, "present")),
        places=(
            Place(LEFT, Region("effusion_left", Box(1, 1, 4, 4), "drawn")),
            Place(LEFT, Region("effusion_left", make_mask(), "drawn")),
            Place(NODULE, Region("nodule", Box(2, 2, 9, 9), "drawn")),
        ),
    )
    return replace(plain, **changes)


def make_maps(findings: int = 2) -> NDArray[np.float32]:
    """A heatmap of chances for each finding."""
    return np.random.default_rng(3).random((findings, ROWS, COLUMNS)).astype(np.float32)


def make_object(kind: What, result: Result, original: Original = ORIGINAL, **options: Any) -> Made | None:
    """The object of a kind that says a result, with regions, and heatmaps of its findings."""
    maps = make_maps(len(result.said)) if kind == "heatmaps" else None
    return WORKSHOP.make(kind, result, original, **{"with_regions": True, "maps": maps} | options)


def opened(made: Made) -> Dataset:
    """An object as its receiver reads it."""
    return pydicom.dcmread(io.BytesIO(made.data))


def eager_release() -> Release:
    """A small network that calls its one finding present wherever it looks."""
    plain = make_release()
    return Release(plain.card, {**plain.tensors, "head.map.bias": plain.tensors["head.map.bias"] + 4.0})


def dicom_errors(path: Path) -> list[str]:
    """What dicom3tools' validator calls an error in a file; the program must be installed."""
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
    return [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]


def has_validator() -> bool:
    """Whether dicom3tools' validator is installed."""
    return shutil.which("dciodvfy") is not None
