"""What one DICOM file is: parsed, measured, judged, rendered. Runs in a worker; imports neither store nor network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID

from ..deidentify import Deidentification, Original, deidentify, file_bytes
from ..deidentify.burned_in import suspected_text
from ..deidentify.masking import mask
from ..deidentify.profile import BurnedIn
from ..pixels import (
    DEFAULT_LIMITS,
    ImageHeader,
    Limits,
    Rendered,
    UnreadableError,
    codestream,
    image_header,
    open_dicom,
    render_dataset,
    stored_frame,
)
from ..pixels.header import text, value
from ..pixels.preview import preview_bytes
from ..pixels.unreadable import first_line
from .allowed import SOP_CLASSES, TRANSFER_SYNTAXES
from .structure import check_structure
from .traits import traits_of

# PS3.5 section 9.1, less strict about leading zeros, which real archives hold and which harm nobody.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID, _LONGEST_IDENTIFIER = 64, 256
_UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class Examined:
    """One file that may come in: whose it is, what it shows, and a small grey copy of its first frame.

    The identifiers are the hospital's own, for the store's encrypted rows. laterality: "L", "R", "B" or "". rows,
    columns: stored pixels of one frame. acquired: the file's own date and time as text, or "". preview: as
    `pixels.preview` encodes it. original, content: what the file was and what of it may be stored, where it was
    de-identified; else None and b"". masked: places blackened because text was suspected there. sex, age: as `traits`
    reads them, "" and -1 where they are not known.
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
    preview: bytes = field(repr=False)
    original: Original | None = field(default=None, repr=False)
    content: bytes = field(default=b"", repr=False)
    masked: int = 0
    sex: str = ""
    age: int = -1


def examine(
    content: bytes,
    limits: Limits = DEFAULT_LIMITS,
    classes: Sequence[str] = SOP_CLASSES,
    how: Deidentification | None = None,
) -> Examined:
    """Parse, measure, judge, render and de-identify one file; `classes` are the storage classes let in.

    Raises `UnreadableError`. how: the node's de-identification; without it the file is only judged.

    Of a compressed multi-frame image the first and the last frame are decoded, and every frame's own header is
    compared with the file's: a file that was cut off or has fewer frames than it says fails here.
    """
    dataset = open_dicom(content, limits)
    check_structure(dataset, limits)
    header = image_header(dataset, limits)
    _check_allowed(dataset, header, classes)
    study, series, instance = (_uid(dataset, keyword) for keyword in _UID_KEYWORDS)
    patient = _patient(dataset)
    rendered = render_dataset(dataset, header, 0, limits)
    if header.frames > 1 and UID(header.syntax).is_encapsulated:
        _check_frames(dataset, header)
        stored_frame(dataset, header, header.frames - 1, limits)
    preview = preview_bytes(rendered.image)
    original, stored, masked = (None, b"", 0)
    if how is not None:
        done = deidentify(dataset, how.profile, how.keys)
        masked = _without_text(dataset, done.dataset, header, rendered, how.profile.burned_in_text, limits)
        original, stored = done.original, file_bytes(done.dataset)
        if masked:
            preview = _preview(stored, limits)
    traits = traits_of(dataset)
    return Examined(
        patient_issuer=_whole_text(dataset, "IssuerOfPatientID"),
        patient_id=patient,
        study_uid=study,
        series_uid=series,
        sop_uid=instance,
        modality=text(dataset, "Modality", 16).upper(),
        body_part=text(dataset, "BodyPartExamined", 16).upper(),
        view=text(dataset, "ViewPosition", 16).upper(),
        laterality=_laterality(dataset),
        rows=header.rows,
        columns=header.columns,
        frames=header.frames,
        acquired=_acquired(dataset),
        preview=preview,
        original=original,
        content=stored,
        masked=masked,
        sex=traits.sex,
        age=-1 if traits.age is None else traits.age,
    )


def _without_text(
    dataset: Dataset, clean: Dataset, header: ImageHeader, first: Rendered, policy: BurnedIn, limits: Limits
) -> int:
    """Look for text in the first, the middle and the last frame, and mask or refuse; how many places were masked."""
    if policy == "none":
        return 0
    others = sorted({header.frames // 2, header.frames - 1} - {0})
    places = suspected_text([first.image, *(render_dataset(dataset, header, at, limits).image for at in others)])
    if places and policy == "quarantine":
        raise UnreadableError(
            "burned-in-text", f"text is suspected in {len(places)} places of its pixels; whether it is any, nobody read"
        )
    if places:
        mask(dataset, clean, header, places, limits)
    return len(places)


def _preview(content: bytes, limits: Limits) -> bytes:
    dataset = open_dicom(content, limits)
    return preview_bytes(render_dataset(dataset, image_header(dataset, limits), 0, limits).image)


def _check_allowed(dataset: Dataset, header: ImageHeader, classes: Sequence[str]) -> None:
    found = text(dataset, "SOPClassUID", _LONGEST_UID)
    if found not in classes:
        name = UID(found).name if _UID.fullmatch(found) else found
        raise UnreadableError(
            "unsupported-class", f"its storage class is {name or 'not stated'}, which is not taken in here"
        )
    if header.syntax not in TRANSFER_SYNTAXES:
        raise UnreadableError("unsupported-syntax", f"transfer syntax {UID(header.syntax).name!r} is not taken in here")


def _check_frames(dataset: Dataset, header: ImageHeader) -> None:
    """Every compressed frame declares the size that the file's header gives, so that none asks for more later."""
    try:
        for number, frame in enumerate(generate_frames(dataset.PixelData, number_of_frames=header.frames)):
            stream = codestream.declared(frame)
            if stream is not None and (stream.rows, stream.columns) != (header.rows, header.columns):
                raise UnreadableError(
                    "bad-header",
                    f"frame {number} is {stream.rows} x {stream.columns}, "
                    f"the header says {header.rows} x {header.columns}",
                )
    except UnreadableError:
        raise
    except Exception as error:  # the fragments' lengths are the file's own
        raise UnreadableError("truncated", f"its frames are not where they should be ({first_line(error)})") from error


def _uid(dataset: Dataset, keyword: str) -> str:
    found = _whole_text(dataset, keyword)
    if not found:
        raise UnreadableError("missing-identifiers", f"the file has no {keyword}")
    if len(found) > _LONGEST_UID or not _UID.fullmatch(found):
        raise UnreadableError("missing-identifiers", f"its {keyword} is not a UID")
    return found


def _patient(dataset: Dataset) -> str:
    found = _whole_text(dataset, "PatientID")
    if not found:
        raise UnreadableError(
            "missing-identifiers",
            "the file has no Patient ID, so that its patient's images cannot be kept together",
        )
    return found


def _whole_text(dataset: Dataset, keyword: str) -> str:
    """An identifier with nothing cut off it: two patients whose identifiers differ anywhere must stay two."""
    found = value(dataset, keyword)
    if found is None:
        return ""
    joined = found if isinstance(found, str) else "\\".join(str(part) for part in found)
    plain = "".join(character for character in joined if character.isprintable()).strip()
    if len(plain) > _LONGEST_IDENTIFIER:
        raise UnreadableError("bad-header", f"its {keyword} is {len(plain)} characters long")
    return plain


def _laterality(dataset: Dataset) -> str:
    found = (text(dataset, "ImageLaterality", 1) or text(dataset, "Laterality", 1)).upper()
    return found if found in ("L", "R", "B") else ""


def _acquired(dataset: Dataset) -> str:
    """The most specific date and time the file gives, as it gives them."""
    moment = text(dataset, "AcquisitionDateTime", 32)
    if moment:
        return moment
    for kind in ("Acquisition", "Content", "Series", "Study"):
        date = text(dataset, f"{kind}Date", 16)
        if date:
            return f"{date} {text(dataset, f'{kind}Time', 16)}".strip()
    return ""
