"""From the bytes of an image file to a grey image: decoding inside limits, then the DICOM display pipeline."""

from __future__ import annotations

from . import codestream
from .grey import GreyPipeline, Linear, LookupTable, Window, to_grey
from .header import ImageHeader, image_header
from .limits import DEFAULT_LIMITS, Limits
from .raster import raster_encoding
from .reading import open_dicom
from .rendering import Rendered, render, render_dataset
from .stored import stored_frame
from .unreadable import UnreadableError

__all__ = [
    "DEFAULT_LIMITS",
    "GreyPipeline",
    "ImageHeader",
    "Limits",
    "Linear",
    "LookupTable",
    "Rendered",
    "UnreadableError",
    "Window",
    "codestream",
    "image_header",
    "open_dicom",
    "raster_encoding",
    "render",
    "render_dataset",
    "stored_frame",
    "to_grey",
]
