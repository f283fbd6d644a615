"""What was written is read again and compared with what was meant; only then may anybody say that it is saved.

This reads a report's tree and a segmentation's frames with plain pydicom, not with the library that made them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from ...task import Finding
from ..annotations import Box
from ..deidentify.original import Original
from .errors import ExportError
from .naming import LATERALITY, SIDE_CODES, person_name
from .results import Person, Result
from .structured_report import STATE_CODES, Signature

_FINDING, _PRESENCE, _CERTAINTY = ("121071", "DCM"), ("121052", "DCM"), ("111012", "DCM")
_GROUP, _REGION, _SEGMENT_FRAME = ("125007", "DCM"), ("111030", "DCM"), ("121214", "DCM")
_SOURCES = frozenset({("121112", "DCM"), ("121324", "DCM"), ("121233", "DCM")})
_STATES = {(code.value, code.scheme_designator): state for state, code in STATE_CODES.items()}
_BY_PERSON, _BY_DEVICE, _DEVICE_SERIAL = ("121008", "DCM"), ("121012", "DCM"), ("121016", "DCM")

_SIDES = {(code.value, code.scheme_designator): side for side, code in SIDE_CODES.items()}
_LATERALITY = (LATERALITY.value, LATERALITY.scheme_designator)

Code = tuple[str, str]
Sided = tuple[str, str, str]
"""A finding's code, its scheme, and the side: "L", "R" or ""."""


@dataclass(frozen=True, slots=True)
class Header:
    """Under whose name an object stands."""

    patient_id: str
    patient_issuer: str
    patient_name: str
    study_uid: str
    series_uid: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class ReportContent:
    """What a report says: flags, who speaks, (coded finding, state, percent) of each, and its regions.

    boxes: (coded finding, corners as 32-bit numbers); segments: (coded finding, segmentation's UID, number of the
    frame). image, frame: what it is said of; frame counts from 1 and is 0 where the image has only one.
    """

    flags: tuple[str, str]
    observer: str
    findings: tuple[tuple[Sided, str, float | None], ...]
    boxes: tuple[tuple[Sided, tuple[float, ...]], ...]
    segments: tuple[tuple[Sided, str, int], ...]
    image: str
    frame: int
    signed: tuple[str, str]


@dataclass(frozen=True, slots=True)
class SegmentationContent:
    """What a segmentation says: each segment's coded finding, and SHA-256 of each frame's 8-bit pixels, row by row."""

    kind: tuple[str, str]
    segments: tuple[Sided, ...]
    frames: tuple[bytes, ...]
    image: str
    frame: int


@dataclass(frozen=True, slots=True)
class Meant:
    """What an object must hold when it is read again."""

    header: Header
    content: ReportContent | SegmentationContent


def meant_header(original: Original, series_uid: str, sop_uid: str) -> Header:
    """The header that an object for this patient must have."""
    return Header(
        original.patient_id,
        original.issuer_of_patient_id,
        _plain_name(original.patient_name),
        original.study_uid,
        series_uid,
        sop_uid,
    )


def _plain_name(name: object) -> str:
    """A name without the empty components at its end, which one system writes and another leaves out."""
    return str(name or "").rstrip("=^ ")


def meant_report(
    result: Result, image: str, segmentation: str, *, with_regions: bool, signature: Signature | None
) -> ReportContent:
    """What the report of a result must say. segmentation: the UID of that of its regions, "" without one."""
    places = [(index, place) for index, place in enumerate(result.places, 1) if with_regions]
    person = isinstance(result.observer, Person)
    return ReportContent(
        flags=("FINAL" if person else "PRELIMINARY", "UNVERIFIED" if signature is None else "VERIFIED"),
        observer=person_name(result.observer.name) if isinstance(result.observer, Person) else result.observer.release,
        findings=tuple(
            (
                coded(said.finding),
                said.state,
                None if said.probability is None else round(100.0 * said.probability, 6),
            )
            for said in result.said
        ),
        boxes=tuple(
            (coded(place.finding), _single(place.region.shape))
            for _, place in places
            if isinstance(place.region.shape, Box)
        ),
        segments=tuple(
            (coded(place.finding), segmentation, index)
            for index, place in places
            if segmentation and not isinstance(place.region.shape, Box)
        ),
        image=image,
        frame=_frame(result),
        signed=("", "") if signature is None else (person_name(signature.name), signature.organisation),
    )


def coded(finding: Finding) -> Sided:
    """The finding as it must stand in an object."""
    return finding.code, finding.scheme, finding.laterality


def meant_segmentation(
    findings: Sequence[Finding], frames: Sequence[NDArray[np.uint8]], result: Result, image: str
) -> SegmentationContent:
    """What a segmentation must hold: one frame (rows, columns) of stored values for each finding's segment."""
    digests = tuple(hashlib.sha256(np.ascontiguousarray(frame).tobytes()).digest() for frame in frames)
    segments = tuple(coded(one) for one in findings)
    return SegmentationContent(("FRACTIONAL", "PROBABILITY"), segments, digests, image, _frame(result))


def _frame(result: Result) -> int:
    return result.frame + 1 if result.instance.frames > 1 else 0


def _single(box: Box) -> tuple[float, ...]:
    return tuple(float(np.float32(value)) for value in (box.x0, box.y0, box.x1, box.y1))


def check(data: bytes, meant: Meant, where: str) -> None:
    """Parse an object's bytes and compare; ExportError names the first thing that is not as meant."""
    try:
        dataset = dcmread(BytesIO(data))
    except Exception as fault:  # pydicom raises whatever a damaged element makes it trip over
        raise _unreadable(fault, where) from fault
    compare(dataset, meant, where)


def compare(dataset: Dataset, meant: Meant, where: str) -> None:
    """As `check`, of a data set that has been parsed."""
    try:
        header = _header(dataset)
        content = _report(dataset) if dataset.Modality == "SR" else _segmentation(dataset)
    except Exception as fault:  # as above: elements are decoded when they are looked at
        raise _unreadable(fault, where) from fault
    for found, wanted in ((header, meant.header), (content, meant.content)):
        if type(found) is not type(wanted):
            raise _differs("kind of object", where)
        for field in fields(wanted):
            if getattr(found, field.name) != getattr(wanted, field.name):
                raise _differs(field.name.replace("_", " "), where)


def _unreadable(fault: Exception, where: str) -> ExportError:
    return ExportError(
        f"what was written cannot be read again ({type(fault).__name__}: {str(fault)[:200]})",
        where=where,
        fix="export again; if it happens twice, check the disk or the PACS",
    )


def _differs(what: str, where: str) -> ExportError:
    return ExportError(
        f"what was written has another {what} than it should",
        where=where,
        fix="do not use this object; export again, and if it happens twice ask whether the PACS changes objects",
    )


def _header(dataset: Dataset) -> Header:
    return Header(
        str(dataset.PatientID or ""),
        str(dataset.get("IssuerOfPatientID", "") or ""),
        _plain_name(dataset.PatientName),
        str(dataset.StudyInstanceUID),
        str(dataset.SeriesInstanceUID),
        str(dataset.SOPInstanceUID),
    )


def _code(item: Dataset) -> Code:
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
    return str(value), str(item.get("CodingSchemeDesignator", ""))


def _name(item: Dataset) -> Code:
    names = item.get("ConceptNameCodeSequence")
    return _code(names[0]) if names else ("", "")


def _children(item: Dataset) -> Iterator[Dataset]:
    yield from item.get("ContentSequence", [])


def _report(dataset: Dataset) -> ReportContent:
    findings: list[tuple[Sided, str, float | None]] = []
    boxes: list[tuple[Sided, tuple[float, ...]]] = []
    segments: list[tuple[Sided, str, int]] = []
    images: set[tuple[str, int]] = set()
    for group in (one for part in _children(dataset) for one in _children(part) if _name(one) == _GROUP):
        finding, state, percent = ("", "", ""), "", None
        for item in _children(group):
            name = _name(item)
            if name == _FINDING:
                finding = (*_code(item.ConceptCodeSequence[0]), _side(item))
            elif name == _PRESENCE:
                state = _STATES[_code(item.ConceptCodeSequence[0])]
            elif name == _CERTAINTY:
                percent = float(item.MeasuredValueSequence[0].NumericValue)
            elif name == _REGION:
                boxes.append((finding, _corners(item)))
                images.update(_image(source) for source in _children(item))
            elif name == _SEGMENT_FRAME:
                target = item.ReferencedSOPSequence[0]
                segments.append((finding, str(target.ReferencedSOPInstanceUID), int(target.ReferencedFrameNumber)))
            elif item.ValueType == "IMAGE":
                images.add(_image(item))
        if state:
            findings.append((finding, state, percent))
    if len(images) != 1:
        raise ValueError(f"the report is about {len(images)} images")
    image, frame = images.pop()
    verifying = dataset.get("VerifyingObserverSequence")
    return ReportContent(
        flags=(str(dataset.PreliminaryFlag), str(dataset.VerificationFlag)),
        observer=_observer(dataset),
        findings=tuple(findings),
        boxes=tuple(boxes),
        segments=tuple(segments),
        image=image,
        frame=frame,
        signed=(str(verifying[0].VerifyingObserverName), str(verifying[0].VerifyingOrganization))
        if verifying
        else ("", ""),
    )


def _observer(dataset: Dataset) -> str:
    for item in _children(dataset):
        if _name(item) == _BY_PERSON:
            return str(item.PersonName)
        if _name(item) == _DEVICE_SERIAL:
            return str(item.TextValue)
    raise ValueError("the report names no observer")


def _corners(item: Dataset) -> tuple[float, ...]:
    points = np.array(item.GraphicData, np.float32).reshape(-1, 2)
    x0, y0 = points.min(axis=0)
    x1, y1 = points.max(axis=0)
    whole = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    if item.GraphicType != "POLYLINE" or not np.array_equal(points, np.array(whole, np.float32)):
        raise ValueError("a region is not a box")
    return float(x0), float(y0), float(x1), float(y1)


def _side(finding: Dataset) -> str:
    """The side that a report's finding is modified by, "" without one; KeyError for one that is neither."""
    sides = [_code(item.ConceptCodeSequence[0]) for item in _children(finding) if _name(item) == _LATERALITY]
    return _SIDES[sides[0]] if sides else ""


def _segment(segment: Dataset) -> Sided:
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence")
    return (*_code(kind), _SIDES[_code(modifiers[0])] if modifiers else "")


def _image(item: Dataset) -> tuple[str, int]:
    reference = item.ReferencedSOPSequence[0]
    return str(reference.ReferencedSOPInstanceUID), int(reference.get("ReferencedFrameNumber", 0) or 0)


def _segmentation(dataset: Dataset) -> SegmentationContent:
    codes = tuple(_segment(segment) for segment in dataset.SegmentSequence)
    groups = [dataset.SharedFunctionalGroupsSequence[0], *dataset.PerFrameFunctionalGroupsSequence]
    numbers = (
        [int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for group in groups[1:]]
        if ("SegmentIdentificationSequence" not in groups[0])
        else [int(groups[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
    )
    if numbers != list(range(1, len(codes) + 1)):
        raise ValueError("its frames are not one for each segment, in their order")
    sources = {
        (str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber", 0) or 0))
        for group in groups
        for derivation in group.get("DerivationImageSequence", [])
        for source in derivation.SourceImageSequence
    }
    if len(sources) != 1:
        raise ValueError(f"the segmentation is of {len(sources)} images")
    image, frame = sources.pop()
    digests = tuple(hashlib.sha256(np.ascontiguousarray(one).tobytes()).digest() for one in iter_pixels(dataset))
    kind = (str(dataset.SegmentationType), str(dataset.SegmentationFractionalType))
    return SegmentationContent(kind, codes, digests, image, frame)
