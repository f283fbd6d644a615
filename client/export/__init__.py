"""Results on their way back: DICOM reports and segmentations for the PACS, tables for researchers."""

from __future__ import annotations
