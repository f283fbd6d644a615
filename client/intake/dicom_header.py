"""What the store needs to know of a DICOM file: whose it is, what it shows, and that its pixels decode."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.uid import UID

from ..pixels import (
    DEFAULT_LIMITS,
    ImageHeader,
    Limits,
    Rendered,
    UnreadableError,
    image_header,
    open_dicom,
    render_dataset,
    stored_frame,
)
from ..pixels.header import text, value
from ..store import NewInstance

# PS3.5 section 9.1, less strict about leading zeros, which real archives hold and which harm nobody.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID, _LONGEST_IDENTIFIER = 64, 256


def read_dicom(content: bytes, source: str, limits: Limits = DEFAULT_LIMITS) -> tuple[NewInstance, Rendered]:
    """Parse, check and decode one file; the rendering is of its first frame. Raises `UnreadableError`.

    Of a compressed multi-frame image the first and the last frame are decoded: a file that was cut off or has fewer
    frames than it says fails here. One bad frame between them is met, and reported, when it is looked at.
    """
    dataset = open_dicom(content, limits)
    header = image_header(dataset, limits)
    identifiers = {keyword: _uid(dataset, keyword) for keyword in _UID_KEYWORDS}
    patient = _patient(dataset)
    rendered = render_dataset(dataset, header, 0, limits)
    if header.frames > 1 and UID(header.syntax).is_encapsulated:
        stored_frame(dataset, header, header.frames - 1, limits)
    return _new_instance(dataset, header, identifiers, patient, content, source), rendered


_UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def _new_instance(
    dataset: Dataset, header: ImageHeader, uids: dict[str, str], patient: str, content: bytes, source: str
) -> NewInstance:
    return NewInstance(
        patient_issuer=_whole_text(dataset, "IssuerOfPatientID"),
        patient_id=patient,
        study_uid=uids["StudyInstanceUID"],
        series_uid=uids["SeriesInstanceUID"],
        sop_uid=uids["SOPInstanceUID"],
        modality=text(dataset, "Modality", 16).upper(),
        body_part=text(dataset, "BodyPartExamined", 16).upper(),
        view=text(dataset, "ViewPosition", 16).upper(),
        laterality=_laterality(dataset),
        rows=header.rows,
        columns=header.columns,
        frames=header.frames,
        acquired=_acquired(dataset),
        source=source,
        encoding="dicom",
        content=content,
    )


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
