"""Studies for journeys of the viewer: films, slices, a mammogram, a large radiograph and plain ones."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from desks import shown
from dicom_files import dataset, dicom, written
from hospitals import make_release
from playwright.sync_api import Page

from medquorum.client.deidentify import Original
from medquorum.client.node import Node
from medquorum.client.propose import propose
from medquorum.client.store import NewInstance

FRAMES, SLICES = 40, 12
SIDE = 96
DRAW = np.random.default_rng(4)
MOVING = DRAW.integers(0, 4096, (FRAMES, SIDE, SIDE)).astype(np.uint16)
LARGE = DRAW.integers(0, 65536, (2500, 2000)).astype(np.uint16)
WINDOW = {"WindowCenter": "2000", "WindowWidth": "3000"}
# The views of a mammogram as they arrive: view, side, and where the right and lower edges of the picture lie.
# The last is stored the other way round than it is hung.
VIEWS = (("CC", "L", ["A", "R"]), ("MLO", "L", ["A", "F"]), ("CC", "R", ["P", "L"]), ("MLO", "R", ["A", "F"]))


def film() -> bytes:
    """A file of forty frames."""
    made = dataset(MOVING[0], 1, NumberOfFrames=FRAMES, CineRate=20, PatientOrientation=["L", "F"], **WINDOW)
    made.PixelData = MOVING.astype("<u2").tobytes()
    return written(made)


def images() -> list[NewInstance]:
    """A film, a series of slices that arrives in disorder, a mammogram, a large radiograph, and plain studies."""
    found: list[NewInstance] = []

    def add(
        study: int, name: str, modality: str, view: str, side: str, frames: int, content: bytes, **more: Any
    ) -> None:
        number = len(found)
        uids = f"1.7.{study}", f"1.7.{study}.1", f"1.7.{study}.1.{number}"
        size = (2500, 2000) if name == "Large" else (SIDE, SIDE)
        made = NewInstance(
            "H",
            name,
            *uids,
            modality,
            "CHEST",
            view,
            side,
            *size,
            frames,
            f"202601{study:02}",
            f"{number}.dcm",
            "dicom",
            content,
        )  # pyright: ignore[reportArgumentType]
        found.append(replace(made, **more))

    add(1, "Film", "DX", "PA", "", FRAMES, film())
    for place in DRAW.permutation(SLICES):
        pixels = np.full((SIDE, SIDE), 300 * (int(place) + 1), np.uint16)
        pixels[0, 0], pixels[-1, -1] = 0, 4000
        content = dicom(pixels, 100 + int(place), Modality="CT", ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **WINDOW)
        original = Original(series_number="2", instance_number=str(place + 1))
        add(2, "Slices", "CT", "", "", 1, content, original=original)
    for number, (view, side, way) in enumerate(VIEWS):
        content = dicom(MOVING[number], 200 + number, Modality="MG", PatientOrientation=way, **WINDOW)
        add(3, "Breast", "MG", view, side, 1, content)
    add(4, "Large", "DX", "PA", "", 1, dicom(LARGE, 300, WindowCenter="30000", WindowWidth="50000"))
    for number in range(6):
        add(5 + number, f"Plain{number}", "DX", "PA", "", 1, dicom(MOVING[number], 400 + number, **WINDOW))
    add(12, "Film", "DX", "PA", "", FRAMES, film())
    return found


@contextmanager
def laid_out(folder: Path) -> Generator[Node]:
    """A node with these studies, proposed."""
    with Node.create(folder, "A", held_out_share=0.0) as made:
        release = make_release()
        made.releases.adopt(release)
        for outcome in made.store.add_many(images()):
            assert not isinstance(outcome, Exception)
        propose(made.store, release)
        yield made


def open_study(page: Page, name: str) -> None:
    """Open a patient's study from the worklist and wait for its image."""
    page.locator("#rows a", has_text=name).first.click()
    shown(page)


def plain(node: Node, number: int) -> str:
    """The image of a plain study."""
    return [row.id for row in node.store.instances() if row.modality == "DX"][2 + number]
