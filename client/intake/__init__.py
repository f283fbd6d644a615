"""Taking images in: a folder of DICOM files, or a folder of PNG and JPEG files with a table."""

from __future__ import annotations

from .folder import import_dicom
from .report import IntakeReport, Quarantined
from .table import Column, Labels, Table, import_table

__all__ = ["Column", "IntakeReport", "Labels", "Quarantined", "Table", "import_dicom", "import_table"]
