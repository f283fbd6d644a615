"""What the tests of the node's store share: an empty store, and images for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medquorum.client.gate import Gate
from medquorum.client.keys import NodeKey
from medquorum.client.spool import Spool
from medquorum.client.store import NewInstance, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A fresh store that holds nobody out unless told to."""
    with Store.create(tmp_path / "store", "hospital-a", held_out_share=0.0) as made:
        yield made


@pytest.fixture
def image() -> Callable[..., NewInstance]:
    """Makes the n-th image: a patient of its own unless told otherwise; 40 rows, 50 columns, 2 frames."""

    def make(number: int = 0, **changes: Any) -> NewInstance:
        fields: dict[str, Any] = {
            "patient_issuer": "HOSPITAL",
            "patient_id": f"PATIENT{number}",
            "study_uid": f"1.2.3.{number}",
            "series_uid": f"1.2.3.{number}.1",
            "sop_uid": f"1.2.3.{number}.1.1",
            "modality": "DX",
            "body_part": "CHEST",
            "view": "PA",
            "laterality": "",
            "rows": 40,
            "columns": 50,
            "frames": 2,
            "acquired": "20240102",
            "source": f"ward/{number}.dcm",
            "encoding": "dicom",
            "content": b"pixels of %d" % number,
        }
        return NewInstance(**(fields | changes))

    return make


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    return Spool(tmp_path / "spool", NodeKey(bytes(range(32))))


@pytest.fixture(scope="session")
def gate() -> Iterator[Gate]:
    """One gate with one worker for all tests of this process: a worker takes most of a second to start."""
    with Gate(workers=1) as opened:
        yield opened
