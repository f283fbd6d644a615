"""A node's folder with a model, de-identified images and a reading or two, for the tests of whole exports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dataset, written
from exports import eager_release
from hospitals import square

from medquorum.client.annotations import Annotation, Box, Region, new_id, utc_now
from medquorum.client.deidentify.original import Original
from medquorum.client.propose import propose
from medquorum.client.releases import Releases
from medquorum.client.store import NewInstance, Store

PIXELS = np.random.default_rng(5).integers(0, 4096, (32, 24), dtype=np.uint16)


@dataclass(frozen=True)
class Hospital:
    """A closed node: its folder, the ids of its images, and the one that a reader has read."""

    folder: Path
    images: tuple[str, ...]
    read: str
    table: str

    def open(self) -> Store:
        return Store.open(self.folder / "store")


def _image(number: int) -> NewInstance:
    received = dataset(PIXELS, number, PatientName=f"Patient^{number}", PatientSex="F", StudyDate="20240102")
    return NewInstance(
        "", f"pseudonym-{number}", f"2.25.1{number}", f"2.25.2{number}", f"2.25.3{number}", "DX", "CHEST", "PA", "", 32,
        24, 1, "", f"{number}.dcm", "dicom", written(dataset(PIXELS, number + 100)), Original.of(received),
    )  # fmt: skip


@pytest.fixture(scope="session")
def made_hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """Three images from the PACS, of which a reader has read the first, and one that came with a table."""
    folder = tmp_path_factory.mktemp("hospital")
    release = eager_release()
    Releases(folder / "releases").adopt(release)
    with Store.create(folder / "store", "St. Anna", held_out_share=0.0) as store:
        images = [store.add(_image(number)).instance for number in range(1, 4)]
        table = store.add(
            NewInstance(
                "", "T", "1.2.7", "1.2.8", "1.2.9", "DX", "", "", "", 32, 32, 1, "", "t.png", "png", square(True, 1)
            )
        ).instance
        propose(store, release)
        proposal = store.proposals(release.hash.hex())[images[0]]
        box = Region("nodule", Box(2, 3, 9.5, 11), "drawn")
        store.annotate(
            Annotation(
                new_id(),
                images[0],
                0,
                "Dr. Ada Lovelace",
                utc_now(),
                proposal.release,
                proposal.id,
                (("nodule", "present"),),
                (box,),
                3,
                9.0,
                None,
            )
        )
    return Hospital(folder, tuple(images), images[0], table)


@pytest.fixture
def hospital(made_hospital: Hospital, tmp_path: Path) -> Iterator[Hospital]:
    """A copy of it, to be changed."""
    import shutil
    from dataclasses import replace

    folder = tmp_path / "node"
    shutil.copytree(made_hospital.folder, folder)
    yield replace(made_hospital, folder=folder)
