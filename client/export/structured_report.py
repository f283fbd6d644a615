"""Findings as a DICOM structured report: Comprehensive SR with the Measurement Report template (PS3.16 TID 1500).

Each finding is a measurement group (TID 1501) that says whether it is present; each region one of its own (TID 1410), a
box by its corners and a mask by the segment that holds it. A finding of one side has its laterality (CID 244) as a
modifier of the concept: both templates know a laterality only of an anatomic site, which nobody states here, and are
extensible. A model's word is PRELIMINARY, UNVERIFIED and a device's; a
reader's is FINAL and a person's, and VERIFIED only under a signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ComprehensiveSR,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    SourceImageForSegmentation,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DA, DT, TM

from ...task import Finding
from ..annotations import Box, State
from .naming import LATERALITY, MAKER, SIDE_CODES, concept, derived_uid, person_name, release_uid
from .results import Device, Person, Place, Result
from .segmentation import region_uid, settle

if TYPE_CHECKING:
    from .objects import Names

# PS3.16 CID 240 "Present-Absent", and SNOMED's word for what nobody looked at.
STATE_CODES: dict[State, CodedConcept] = {
    "present": CodedConcept.from_code(codes.SCT.Present),
    "absent": CodedConcept.from_code(codes.SCT.Absent),
    "uncertain": CodedConcept.from_code(codes.SCT.Undetermined),
    "not_assessed": CodedConcept.from_code(codes.SCT.NotEvaluated),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """Who is accountable for a reviewed result, for which organisation, and since when (UTC)."""

    name: str
    organisation: str
    at: datetime


def structured_report(
    result: Result,
    evidence: Dataset,
    names: Names,
    version: str,
    *,
    segmentation: Dataset | None = None,
    with_regions: bool = True,
    signature: Signature | None = None,
    predecessors: Sequence[Dataset] = (),
) -> ComprehensiveSR:
    """The report of one result.

    evidence: the original image's header. segmentation: of the result's regions, whose segments are in their order;
    masks are left out without one. with_regions: whether regions are reported at all. predecessors: headers of the
    reports that this one takes the place of. signature: makes a reader's report VERIFIED; a model's is never signed.
    """
    if signature is not None and not result.reviewed:
        raise TypeError("only what a person stands behind can be signed")
    frames = [result.frame + 1] if result.instance.frames > 1 else None
    groups = [_finding(result, number, evidence, frames) for number in range(len(result.said))]
    if with_regions:
        groups += _regions(result, evidence, frames, segmentation)
    at = result.at.astimezone()
    report = ComprehensiveSR(
        evidence=[evidence] if segmentation is None or not _masks(result) else [evidence, segmentation],
        content=MeasurementReport(
            observation_context=_context(result, names),
            procedure_reported=codes.SCT.ImagingProcedure,
            imaging_measurements=groups,
        ),
        series_instance_uid=names.series_uid,
        series_number=names.series_number,
        sop_instance_uid=names.sop_uid,
        instance_number=result.frame + 1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=version,
        device_serial_number=names.node,
        series_description=names.series_description,
        is_complete=True,
        is_final=result.reviewed,
        is_verified=signature is not None,
        verifying_observer_name=None if signature is None else person_name(signature.name),
        verifying_organization=None if signature is None else signature.organisation,
        previous_versions=list(predecessors) or None,
        content_date=DA(at.date()),
        content_time=TM(at.time()),
    )
    if signature is not None:
        signed = signature.at.astimezone()
        report.VerifyingObserverSequence[0].VerificationDateTime = DT(signed.strftime("%Y%m%d%H%M%S%z"))
    settle(report, names, at)
    return report


def _masks(result: Result) -> bool:
    return any(not isinstance(place.region.shape, Box) for place in result.places)


def _context(result: Result, names: Names) -> ObservationContext:
    if isinstance(result.observer, Person):
        person = PersonObserverIdentifyingAttributes(
            name=person_name(result.observer.name), organization_name=names.site or None
        )
        return ObservationContext(observer_person_context=ObserverContext(codes.DCM.Person, person))
    device = DeviceObserverIdentifyingAttributes(
        uid=release_uid(result.observer.release),
        name=MAKER,
        manufacturer_name=MAKER,
        model_name=result.observer.name,
        serial_number=result.observer.release,
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _algorithm(device: Device) -> AlgorithmIdentification:
    return AlgorithmIdentification(name=f"{MAKER} {device.name}", version=device.release, manufacturer=MAKER)


def _finding(
    result: Result, index: int, evidence: Dataset, frames: Sequence[int] | None
) -> MeasurementsAndQualitativeEvaluations:
    said = result.said[index]
    chance = None if said.probability is None else round(100.0 * said.probability, 6)
    made = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid("finding", result.id, str(index)), identifier=f"{MAKER} {said.finding.key}"
        ),
        finding_type=concept(said.finding),
        algorithm_id=_algorithm(result.observer) if isinstance(result.observer, Device) else None,
        qualitative_evaluations=[QualitativeEvaluation(codes.DCM.PresenceOfProperty, STATE_CODES[said.state])],
        measurements=None
        if chance is None
        else [Measurement(codes.DCM.CertaintyOfFinding, chance, codes.UCUM.Percent)],
        source_images=[SourceImageForMeasurementGroup(evidence.SOPClassUID, evidence.SOPInstanceUID, frames)],
    )
    _say_side(made[0], said.finding)
    return made


def _say_side(group: Dataset, finding: Finding) -> None:
    """Give the group's finding its side as a modifier."""
    if not finding.laterality:
        return
    side = CodeContentItem(LATERALITY, SIDE_CODES[finding.laterality], RelationshipTypeValues.HAS_CONCEPT_MOD)
    (item,) = (one for one in group.ContentSequence if one.name == codes.DCM.Finding)
    item.ContentSequence = ContentSequence([side])


def _regions(
    result: Result, evidence: Dataset, frames: Sequence[int] | None, segmentation: Dataset | None
) -> list[PlanarROIMeasurementsAndQualitativeEvaluations]:
    made: list[PlanarROIMeasurementsAndQualitativeEvaluations] = []
    for index, place in enumerate(result.places):
        shape = place.region.shape
        if not isinstance(shape, Box) and segmentation is None:
            continue
        region = _outline(shape, evidence, frames) if isinstance(shape, Box) else None
        segment = None
        if region is None and segmentation is not None:
            segment = _segment(segmentation, index + 1, evidence, frames)
        group = PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(
                uid=region_uid(result, index), identifier=f"{MAKER} {place.finding.key} region {index + 1}"
            ),
            referenced_region=region,
            referenced_segment=segment,
            finding_type=concept(place.finding),
            algorithm_id=_drawn_by(result, place),
        )
        _say_side(group[0], place.finding)
        made.append(group)
    return made


def _segment(
    segmentation: Dataset, number: int, evidence: Dataset, frames: Sequence[int] | None
) -> ReferencedSegmentationFrame:
    """A reference to a segment by its only frame, which has the segment's number.

    PS3.3 section C.17.3 and table 10-3 allow a frame's number or a segment's in one reference, and not both.
    """
    made = ReferencedSegmentationFrame(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        frame_number=number,
        segment_number=number,
        source_image=SourceImageForSegmentation(evidence.SOPClassUID, evidence.SOPInstanceUID, frames),
    )
    del made[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    return made


def _drawn_by(result: Result, place: Place) -> AlgorithmIdentification | None:
    if isinstance(result.observer, Device):
        return _algorithm(result.observer)
    return _algorithm(result.shown) if result.shown is not None and place.region.origin == "proposed" else None


def _outline(box: Box, evidence: Dataset, frames: Sequence[int] | None) -> ImageRegion:
    """The box as a closed line of (column, row) corners; PS3.3 section C.18.6.1.2 counts them as a `Box` does."""
    x0, y0, x1, y1 = box.x0, box.y0, box.x1, box.y1
    return ImageRegion(
        GraphicTypeValues.POLYLINE,
        np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]),
        SourceImageForRegion(evidence.SOPClassUID, evidence.SOPInstanceUID, frames),
    )
