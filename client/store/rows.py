"""What goes into the store and what comes out of it: frozen dataclasses, no storage.

Identifiers named `id`, `instance`, `patient` are the store's own opaque ones (32 hexadecimal digits, random); those
named `*_uid`, `patient_id` and `source` are the hospital's, and lie on disk only as ciphertext.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from ...privacy.subgroups import UNKNOWN, Traits

if TYPE_CHECKING:
    from ..deidentify.original import Original

Encoding = Literal["dicom", "png", "jpeg"]
ConsentKind = Literal["consent", "opt_out"]
Eligibility = Literal["opt_out", "consent"]
Outcome = Literal["held", "released", "deleted"]


@dataclass(frozen=True, slots=True)
class NewInstance:
    """One image file to be stored, as intake read it.

    patient_issuer: who issued patient_id (Issuer of Patient ID, 0010,0021); one identifier under two issuers is two
    patients. laterality: "L", "R", "B" or "". rows, columns: stored pixels of one frame. acquired: the file's own
    date and time as text, or "". source: relative path as the user knows it. content: the whole file, as it is to be
    stored. original: of de-identified content, what it was. received: the SHA-256 of the file as it came, where
    content is not that file; by it the same file is known again. masked: places that were blackened because text was
    suspected in them. traits: the patient's sex and band of age as the image states them.
    """

    patient_issuer: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    modality: str
    body_part: str
    view: str
    laterality: str
    rows: int
    columns: int
    frames: int
    acquired: str
    source: str
    encoding: Encoding
    content: bytes = field(repr=False)
    original: Original | None = field(default=None, repr=False)
    received: bytes = b""
    masked: int = 0
    traits: Traits = UNKNOWN


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an instance went. new: False when the very same content had been stored before."""

    instance: str
    patient: str
    new: bool


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """A stored image, without its pixels. patient: after merges; held_out: the patient is kept for evaluation."""

    id: str
    patient: str
    sop_uid: str
    modality: str
    body_part: str
    view: str
    laterality: str
    rows: int
    columns: int
    frames: int
    encoding: Encoding
    source: str
    held_out: bool


@dataclass(frozen=True, slots=True)
class PatientRow:
    """A patient who is neither erased nor merged into another. instances: how many images are stored of them."""

    id: str
    held_out: bool
    instances: int


@dataclass(frozen=True, slots=True)
class FrozenRecord:
    """One record of a plan's frozen sets: the frame, whose it is, the annotation that counts, and for what: held_out
    records are evaluated and never trained on, the others the reverse."""

    instance: str
    frame: int
    patient: str
    annotation: str
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a frozen record's label came to count (see settling), and the ids of the annotations that this rests on."""

    record: FrozenRecord
    how: str
    basis: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A file that was not imported. size: bytes kept of it (None: none were), outcome: what became of them."""

    id: str
    source: str
    code: str
    reason: str
    size: int | None
    at: datetime
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The end of the event chain: the number of events and the hash of the last (32 bytes).

    Whoever remembers a head can later tell whether events were cut off or exchanged before it.
    """

    events: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure destroyed: the patient's data key, and with it these images and events."""

    patient: str
    at: datetime
    instances: int
    events: int
    head: ChainHead


@dataclass(frozen=True, slots=True)
class Figures:
    """How far the work has come. patients: neither erased nor merged. proposed: images that one release has proposed
    for; reviewed: images that somebody has annotated; quarantined: files held."""

    patients: int
    images: int
    proposed: int
    reviewed: int
    quarantined: int
