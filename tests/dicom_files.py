"""DICOM files made in memory, for tests: valid unless a test says otherwise."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian


def dataset(pixels: np.ndarray | None = None, number: int = 1, **elements: Any) -> Dataset:
    """A DX image of `pixels` (rows, columns[, 3]), with no rescale and no window; `elements` by keyword, None drops."""
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4) if pixels is None else pixels
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID = f"1.2.3.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"1.2.4.{number}", f"1.2.5.{number}"
    made.PatientID, made.IssuerOfPatientID = f"P{number}", "HOSPITAL"
    made.Modality, made.BodyPartExamined, made.ViewPosition = "DX", "CHEST", "PA"
    made.AcquisitionDate, made.AcquisitionTime = "20240102", "101500"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    made.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def written(made: Dataset) -> bytes:
    """The data set as a Part-10 file."""
    made.file_meta.MediaStorageSOPClassUID = made.get("SOPClassUID", "1.2")
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "1.2")
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def dicom(pixels: np.ndarray | None = None, number: int = 1, **elements: Any) -> bytes:
    """`dataset` as a file."""
    return written(dataset(pixels, number, **elements))
