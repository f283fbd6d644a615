"""A phantom as a DICOM file: a CR image (PS3.3 A.2), the radiograph whose rescale may be any, headers all invented.

Every name, number and institution below is made up, and says so where its value representation has room.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from .vendor import Vendor

_GIVEN = ("Aster", "Briar", "Clover", "Dahlia", "Elder", "Fern", "Gentian", "Hazel", "Iris", "Juniper", "Linden")
_ROOT = "1.2.826.0.1.3680043.8.498."  # pydicom's root for generated identifiers


@dataclass(frozen=True, slots=True)
class Header:
    """What differs between images: the patient's number at the hospital (from 1), age in years, sex, the image's
    number within the patient (from 1), the day of the exam (YYYYMMDD) and the view (PA or AP)."""

    hospital: str
    patient: int
    age: int
    sex: str
    image: int
    date: str
    view: str


def uid(*parts: int) -> UID:
    """A UID of ours from numbers; equal numbers give the equal UID."""
    return UID(_ROOT + ".".join(str(part) for part in parts))


def encode(
    header: Header, vendor: Vendor, pixels: NDArray[np.uint16], window: NDArray[np.float64], numbers: tuple[int, int]
) -> bytes:
    """One DICOM Part-10 file.

    pixels: (rows, columns), as stored. window: low and high end of the grey scale in modality units. numbers: the
    study's seed and the hospital's number, from which the UIDs are made.
    """
    instance = uid(*numbers, header.patient, header.image)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian

    ds = Dataset()
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.SOPInstanceUID = instance
    ds.StudyInstanceUID = uid(*numbers, header.patient, 0, 1)
    ds.SeriesInstanceUID = uid(*numbers, header.patient, 0, 2)
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.DerivationDescription = "Synthetic phantom; no person was imaged"
    ds.Modality = "CR"
    ds.Manufacturer = vendor.manufacturer
    ds.ManufacturerModelName = vendor.model
    ds.InstitutionName = f"{header.hospital} (invented)"
    ds.PatientName = f"Invented^{_GIVEN[header.patient % len(_GIVEN)]}"
    ds.PatientID = f"INV-{numbers[1]:02d}-{header.patient:05d}"
    ds.IssuerOfPatientID = f"{header.hospital} (invented)"
    ds.PatientBirthDate = f"{int(header.date[:4]) - header.age}0101"
    ds.PatientSex = header.sex
    ds.PatientAge = f"{header.age:03d}Y"
    ds.ReferringPhysicianName = "Invented^Referrer"
    ds.AccessionNumber = f"INV{numbers[1]:02d}{header.patient:06d}"
    ds.StudyID = str(header.patient)
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = header.date
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = f"{8 + header.patient % 10:02d}0000"
    ds.StudyDescription = "SYNTHETIC CHEST PHANTOM"
    ds.SeriesNumber = 1
    ds.InstanceNumber = header.image
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = header.view
    ds.PatientOrientation = ["L", "F"]
    ds.BurnedInAnnotation = "NO"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if vendor.inverted else "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = 16
    ds.BitsStored = vendor.bits
    ds.HighBit = vendor.bits - 1
    ds.PixelRepresentation = 0
    ds.PixelSpacing = [f"{350.0 / max(pixels.shape):.4f}"] * 2
    ds.RescaleSlope = f"{vendor.slope:g}"
    ds.RescaleIntercept = f"{vendor.intercept:g}"
    ds.RescaleType = "US"
    low, high = float(window[0]), float(window[1])
    centre, width = (low + high) / 2.0, high - low
    centres, widths = [f"{centre:.1f}", f"{centre:.1f}"], [f"{width:.1f}", f"{width * 1.4:.1f}"]
    ds.WindowCenter = centres[: vendor.windows] if vendor.windows > 1 else centres[0]
    ds.WindowWidth = widths[: vendor.windows] if vendor.windows > 1 else widths[0]
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds.file_meta = meta
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()
