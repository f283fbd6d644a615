"""Whose image it is in the PACS: the original identifiers, and the header that results are hung on.

The stored file is de-identified, so that nothing in it may reach the PACS; all of this comes from the node's encrypted
record of what the file stated when it was received.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage
from pydicom.valuerep import DA, TM

from ..deidentify.original import Original

_SEXES = ("M", "F", "O")
_SLICES = (CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage)
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")


def evidence(original: Original, geometry: Dataset | None = None) -> Dataset:
    """The header of the original image, as far as a result must repeat it.

    Dates and times that are none, and a sex that DICOM does not know, are left empty: what a result states must be
    valid wherever it goes. Text is written in UTF-8 (ISO_IR 192), since findings and readers have names of their own.
    geometry: the image's place in space (`geometry_of`), None without one.
    """
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = original.sop_class_uid, original.sop_uid
    made.StudyInstanceUID, made.SeriesInstanceUID = original.study_uid, original.series_uid
    made.Modality, made.Rows, made.Columns = original.modality, original.rows, original.columns
    # Type 2 in a segmentation without an orientation in space (PS3.3 section C.7.6.1.1.1), as a radiograph's is.
    made.PatientOrientation = original.patient_orientation.split("\\") if original.patient_orientation else None
    made.PatientID, made.PatientName = original.patient_id, original.patient_name
    if original.issuer_of_patient_id:
        made.IssuerOfPatientID = original.issuer_of_patient_id
    made.PatientBirthDate = _valid(original.patient_birth_date, DA)
    made.PatientSex = original.patient_sex if original.patient_sex in _SEXES else ""
    made.StudyID, made.AccessionNumber = original.study_id, original.accession_number
    made.StudyDate, made.StudyTime = _valid(original.study_date, DA), _valid(original.study_time, TM)
    made.ReferringPhysicianName = original.referring_physician_name
    if original.study_description:
        made.StudyDescription = original.study_description
    if geometry is not None:
        made.FrameOfReferenceUID, made.PositionReferenceIndicator = original.frame_of_reference_uid, ""
        for keyword in _GEOMETRY:
            setattr(made, keyword, geometry[keyword].value)
    return made


def geometry_of(original: Original, content: Callable[[], bytes]) -> Dataset | None:
    """Where a single slice lies in its original frame of reference, by the stored file's header.

    content: reads that file; called only for slices that have a frame of reference. None for all other images, and for
    slices that do not state all of it. De-identification leaves these values as they are, except the frame's UID.
    """
    if original.sop_class_uid not in _SLICES or not original.frame_of_reference_uid:
        return None
    header = dcmread(BytesIO(content()), specific_tags=list(_GEOMETRY), stop_before_pixels=True)
    return header if all(header.get(keyword) not in (None, "") for keyword in _GEOMETRY) else None


def _valid(text: str, kind: type[DA] | type[TM]) -> str:
    try:
        kind(text)
    except (ValueError, TypeError):
        return ""
    return text
