"""A data set of elements as they were read, written as a DICOM file with each of its bytes copied once.

pydicom writes whatever was decoded, and big-endian files whole. What is still as it was read, which is nearly
everything here, needs its header in front of it and no more; pixels are most of a file, and are not copied about.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from struct import Struct
from typing import cast

from pydicom import dcmwrite
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.uid import UID

_UNDEFINED = 0xFFFFFFFF
_PREAMBLE = bytes(128) + b"DICM"
_TAG_LENGTH = Struct("<HHI")
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")
_ITEM = Struct("<HHI")
_DELIMITER = _ITEM.pack(0xFFFE, 0xE0DD, 0)
# VRs whose explicit length has 32 bits (PS3.5 table 7.1-1).
_LONG_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))


def file_bytes(dataset: Dataset) -> bytes:
    """A data set with its file meta information as a DICOM file (PS3.10), in its own transfer syntax; preamble zero."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    encoding = syntax.is_implicit_VR, syntax.is_little_endian
    if not encoding[1] or dataset.original_encoding != encoding:
        out = BytesIO()
        dcmwrite(out, dataset, enforce_file_format=True)
        return out.getvalue()
    meta = DicomBytesIO()
    meta.is_little_endian, meta.is_implicit_VR = True, False
    write_file_meta_info(meta, dataset.file_meta, enforce_standard=True)
    parts = [_PREAMBLE, meta.getvalue()]
    _data_set(parts, dataset, encoding[0])
    return b"".join(parts)


def _data_set(parts: list[bytes], dataset: Dataset, implicit: bool) -> None:
    for tag in sorted(dataset.keys()):
        element = dataset.get_item(tag)
        if element.VR == "SQ" and not element.is_raw:
            _sequence(parts, element, implicit)
        elif element.is_raw and (implicit or element.VR):
            _as_read(parts, cast(RawDataElement, element), implicit)
        else:
            _decoded(parts, dataset, dataset[tag], implicit)


def _head(tag: int, vr: str, length: int, implicit: bool) -> bytes:
    if implicit:
        return _TAG_LENGTH.pack(tag >> 16, tag & 0xFFFF, length)
    if vr in _LONG_VRS:
        return _LONG.pack(tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)
    return _SHORT.pack(tag >> 16, tag & 0xFFFF, vr.encode(), length)


def _as_read(parts: list[bytes], element: RawDataElement, implicit: bool) -> None:
    value = element.value or b""
    # pydicom reads pixels of VR UN as the dictionary's "OB or OW"; compressed ones are OB (PS3.5 section A.4).
    vr = (element.VR or "").split(" or ")[0]
    if element.length == _UNDEFINED:  # encapsulated pixels, and sequences of VR UN: items, then a delimiter
        parts += (_head(element.tag, vr, _UNDEFINED, implicit), value, _DELIMITER)
    elif len(value) > 0xFFFF and not implicit and vr not in _LONG_VRS:
        # Too long for its VR's length field; UN has a longer one (PS3.5 section 6.2.2).
        parts += (_head(element.tag, "UN", len(value), implicit), value)
    else:
        parts += (_head(element.tag, vr, len(value), implicit), value)


def _sequence(parts: list[bytes], element: DataElement, implicit: bool) -> None:
    inside: list[bytes] = []
    for item in cast("Iterable[Dataset]", element.value):
        content: list[bytes] = []
        # An item may have been read from another encoding than the file's (a sequence of VR UN is implicit).
        if item.original_encoding in ((None, None), (implicit, True)):
            _data_set(content, item, implicit)
        else:
            for tag in sorted(item.keys()):
                _decoded(content, item, item[tag], implicit)
        inside += (_ITEM.pack(0xFFFE, 0xE000, sum(map(len, content))), *content)
    parts += (_head(element.tag, "SQ", sum(map(len, inside)), implicit), *inside)


def _decoded(parts: list[bytes], dataset: Dataset, element: DataElement, implicit: bool) -> None:
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, implicit
    encodings = dataset.original_character_set or "iso8859"
    write_data_element(out, element, cast("str | list[str]", encodings))
    parts.append(out.getvalue())
