"""DICOM Segmentation objects (PS3.3 section A.51) of regions and of heatmaps: FRACTIONAL, PROBABILITY, RLE.

A parametric map would need a frame of reference, which a radiograph lacks; a fractional segmentation lies on the pixels
of the image that it references and needs none. A slice that lies in one keeps its place there. One frame for each
segment, in the segments' order. A finding's side is a modifier of its segment's property type (section C.8.20.4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationFractionalTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import DigitalXRayImageStorageForPresentation, RLELossless
from pydicom.valuerep import DA, DT, TM

from ...task import Finding
from ..annotations import Box
from .naming import MAKER, SIDE_CODES, concept, derived_uid, person_name
from .results import Device, Person, Place, Result

if TYPE_CHECKING:
    from .objects import Names

FULL = 255  # the stored value that means certainty (Maximum Fractional Value)
_LONGEST = 64


def regions_segmentation(result: Result, evidence: Dataset, names: Names, version: str) -> Segmentation:
    """The regions of a result, one segment each, with the certainty of what was drawn: 0 outside, 1 inside.

    A box covers the pixels whose centres lie in it. evidence: the original image's header.
    """
    rows, columns = result.instance.rows, result.instance.columns
    pixels = np.stack([_covered(place, rows, columns) for place in result.places], axis=-1)
    descriptions = [
        _described(
            place.finding,
            segment_number=number,
            segment_label=f"{place.finding.name[:50]} {number}",
            algorithm_type=_made_by(result, place),
            algorithm_identification=_algorithm(result, place),
            tracking_uid=region_uid(result, number - 1),
            tracking_id=f"{MAKER} {result.id[:16]} {number}",
        )
        for number, place in enumerate(result.places, 1)
    ]
    return _segmentation(pixels[np.newaxis], descriptions, result, evidence, names, version, "regions")


def heatmap_segmentation(
    result: Result, maps: NDArray[np.float32], evidence: Dataset, names: Names, version: str
) -> Segmentation:
    """What a model sees where: one segment for each finding of `result`, in its order.

    maps: (findings, rows, columns), the chance in [0, 1] that the model gives each stored pixel.
    """
    if not isinstance(result.observer, Device):
        raise TypeError("a heatmap is a model's, never a reader's")
    descriptions = [
        _described(
            said.finding,
            segment_number=number,
            segment_label=f"{said.finding.name[:50]} heatmap",
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm(result.observer),
            tracking_uid=derived_uid("heatmap", result.id, said.finding.key),
            tracking_id=f"{MAKER} {result.id[:16]} heatmap {said.finding.key}",
        )
        for number, said in enumerate(result.said, 1)
    ]
    stacked = np.ascontiguousarray(np.moveaxis(maps, 0, -1))[np.newaxis]
    return _segmentation(stacked, descriptions, result, evidence, names, version, "heatmap")


def _described(finding: Finding, **more: Any) -> SegmentDescription:
    """A segment that shows the finding. more: what else highdicom's SegmentDescription takes."""
    made = SegmentDescription(
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=concept(finding),
        **more,
    )
    if finding.laterality:
        kind = made.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [SIDE_CODES[finding.laterality]]
    return made


def region_uid(result: Result, index: int) -> str:
    """The tracking UID by which a report and a segmentation name the same region."""
    return derived_uid("region", result.id, str(index))


def algorithm(device: Device) -> AlgorithmIdentificationSequence:
    """The model, by name and by its release's hash."""
    return AlgorithmIdentificationSequence(
        name=f"{MAKER} {device.name}"[:_LONGEST],
        family=codes.cid7162.ArtificialIntelligence,
        version=device.release[:_LONGEST],
        source=MAKER,
    )


def covered(place: Place, rows: int, columns: int) -> NDArray[np.bool_]:
    """The (rows, columns) pixels of a region."""
    shape = place.region.shape
    return shape.mask(rows, columns) if isinstance(shape, Box) else shape.array()


def _covered(place: Place, rows: int, columns: int) -> NDArray[np.uint8]:
    return covered(place, rows, columns).astype(np.uint8)


def _made_by(result: Result, place: Place) -> SegmentAlgorithmTypeValues:
    if not result.reviewed:
        return SegmentAlgorithmTypeValues.AUTOMATIC
    if place.region.origin == "proposed" and result.shown is not None:
        return SegmentAlgorithmTypeValues.SEMIAUTOMATIC
    return SegmentAlgorithmTypeValues.MANUAL


def _algorithm(result: Result, place: Place) -> AlgorithmIdentificationSequence | None:
    if isinstance(result.observer, Device):
        return algorithm(result.observer)
    return algorithm(result.shown) if result.shown is not None and place.region.origin == "proposed" else None


def _segmentation(
    pixels: NDArray[np.uint8] | NDArray[np.float32],
    descriptions: Sequence[SegmentDescription],
    result: Result,
    evidence: Dataset,
    names: Names,
    version: str,
    what: str,
) -> Segmentation:
    at = result.at.astimezone()
    reader = person_name(result.observer.name) if isinstance(result.observer, Person) else None
    made = Segmentation(
        source_images=[evidence if "FrameOfReferenceUID" in evidence else _stand_in(evidence)],
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.FRACTIONAL,
        fractional_type=SegmentationFractionalTypeValues.PROBABILITY,
        max_fractional_value=FULL,
        segment_descriptions=descriptions,
        series_instance_uid=names.series_uid,
        series_number=names.series_number,
        sop_instance_uid=names.sop_uid,
        instance_number=result.frame + 1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=version,
        device_serial_number=names.node,
        content_label="REGIONS" if what == "regions" else "HEATMAP",
        content_description=f"{MAKER} {what}, {'read by a person' if result.reviewed else 'not read by a person'}",
        content_creator_name=reader,
        transfer_syntax_uid=RLELossless,
        omit_empty_frames=False,
        series_description=names.series_description,
        content_date=DA(at.date()),
        content_time=TM(at.time()),
    )
    made.PatientOrientation = evidence.PatientOrientation
    _refer(made, evidence, result.frame + 1 if result.instance.frames > 1 else None)
    settle(made, names, at)
    return made


def _stand_in(evidence: Dataset) -> Dataset:
    """The image as a radiograph: of some other kinds highdicom wants a frame of reference, or a single frame.

    Only its size and identifiers go into the segmentation, and `_refer` puts its own class back.
    """
    plain = deepcopy(evidence)
    plain.SOPClassUID = DigitalXRayImageStorageForPresentation
    return plain


def _refer(made: Segmentation, evidence: Dataset, frame: int | None) -> None:
    """Give every reference to the original image its own SOP class, and the frame where it has several."""
    # highdicom puts one item into two sequences, of which only this one has a place for the frame's number.
    made.SourceImageSequence = deepcopy(made.SourceImageSequence)
    groups = [*made.PerFrameFunctionalGroupsSequence, *made.SharedFunctionalGroupsSequence]
    derivations = [item for group in groups for item in group.get("DerivationImageSequence", [])]
    sources = [source for item in derivations for source in item.SourceImageSequence]
    series = [one for item in made.ReferencedSeriesSequence for one in item.ReferencedInstanceSequence]
    for reference in (*sources, *series, *made.SourceImageSequence):
        reference.ReferencedSOPClassUID = evidence.SOPClassUID
    if frame is not None:
        for reference in (*sources, *made.SourceImageSequence):
            reference.ReferencedFrameNumber = frame


def settle(made: Dataset, names: Names, at: datetime) -> None:
    """Take out what would differ the next time: one UID must always name the same bytes (PS3.5 section 9)."""
    made.InstanceCreationDate, made.InstanceCreationTime = DA(at.date()), TM(at.time())
    for equipment in made.get("ContributingEquipmentSequence", []):
        equipment.ContributionDateTime = DT(at.strftime("%Y%m%d%H%M%S%z"))
    if "DimensionOrganizationSequence" in made:
        organisation = derived_uid("dimensions", names.sop_uid)
        made.DimensionOrganizationSequence[0].DimensionOrganizationUID = organisation
        for index in made.DimensionIndexSequence:
            index.DimensionOrganizationUID = organisation
