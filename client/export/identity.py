"""Whose image it is in the PACS: the original identifiers, and the header that results are hung on.

The stored file is de-identified, so that nothing in it may reach the PACS; all of this comes from the node's encrypted
record of what the file stated when it was received.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from ..deidentify.original import Original

_SEXES = ("M", "F", "O")


def evidence(original: Original) -> Dataset:
    """The header of the original image, as far as a result must repeat it.

    Dates and times that are none, and a sex that DICOM does not know, are left empty: what a result states must be
    valid wherever it goes. Text is written in UTF-8 (ISO_IR 192), since findings and readers have names of their own.
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
    return made


def _valid(text: str, kind: type[DA] | type[TM]) -> str:
    try:
        kind(text)
    except (ValueError, TypeError):
        return ""
    return text
