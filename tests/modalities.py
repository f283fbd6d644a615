"""A modality of the hospital that sends images to a node's receiver, for tests."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from dicom_files import dataset
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from pynetdicom import AE
from pynetdicom.association import Association

from medquorum.client.intake.receiver import Receiver
from medquorum.client.intake.settings import IntakeSettings
from medquorum.client.keys import NodeKey

KEY = NodeKey(bytes(range(32)))
VERIFICATION = "1.2.840.10008.1.1"
PIXELS = np.arange(600, dtype=np.uint16).reshape(20, 30)
HOME = IntakeSettings(port=0, peers=("MODALITY@127.0.0.1",))


@contextmanager
def sending(
    receiver: Receiver, title: str = "MODALITY", called: str = "MEDQUORUM", tls: ssl.SSLContext | None = None
) -> Iterator[Association]:
    """An association asked for, which the receiver may have rejected."""
    entity = AE(title)
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, [ExplicitVRLittleEndian, JPEGBaseline8Bit])
    entity.add_requested_context(BasicTextSRStorage)
    association = entity.associate(
        "127.0.0.1", receiver.port, ae_title=called, tls_args=None if tls is None else (tls, "node")
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def image(number: int = 1, pixels: np.ndarray = PIXELS) -> Dataset:
    """The n-th patient's radiograph."""
    made = dataset(pixels, number)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def names(spool_folder: Path) -> list[str]:
    """What kinds of files lie in a spool's folder."""
    return sorted(path.suffix for path in spool_folder.iterdir())
