"""From bytes to a pydicom data set, with or without the Part-10 preamble, inside limits.

pydicom inflates a deflated data set in one call without a bound and recurses into nested sequences until Python's own
recursion limit; both are dealt with here, so that whatever a file holds ends as a data set or as `UnreadableError`.
"""

from __future__ import annotations

import logging
import warnings
import zlib
from io import BytesIO
from struct import error as StructError
from struct import unpack_from

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from .limits import DEFAULT_LIMITS, Limits
from .unreadable import UnreadableError, first_line

# A hospital's archive draws thousands of these (odd UIDs, odd VRs). What matters of them ends as a quarantine reason.
logging.getLogger("pydicom").addHandler(logging.NullHandler())
logging.getLogger("pydicom").propagate = False
warnings.filterwarnings("ignore", module=r"pydicom(\..*)?")

_PREAMBLE = 128
_MAGIC = b"DICM"
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_TRANSFER_SYNTAX = (0x0002, 0x0010)


def open_dicom(content: bytes, limits: Limits = DEFAULT_LIMITS) -> Dataset:
    """Parse a DICOM file held in memory; `file_meta.TransferSyntaxUID` is always set in what comes back.

    A file without preamble, or without file meta information (PS3.10 section 7.1), is read when its first element is
    one that a data set can begin with. Raises `UnreadableError`: empty, not-dicom, too-large, too-deep, truncated,
    bad-header.
    """
    if len(content) > limits.file_bytes:
        raise UnreadableError("too-large", f"the file has {len(content)} bytes; {limits.file_bytes} are allowed")
    if not content[: _PREAMBLE + len(_MAGIC)].strip(b"\0") and not content.strip(b"\0"):
        raise UnreadableError("empty", "the file is empty" if not content else "the file holds nothing but zeros")
    start = _PREAMBLE + len(_MAGIC) if content.startswith(_MAGIC, _PREAMBLE) else 0
    if start == 0 and content[:4] not in _possible_first_tags(content):
        raise UnreadableError("not-dicom", "the file has no DICOM prefix and does not begin with a DICOM element")
    try:
        syntax, end = _file_meta(content, start)
        dataset = (
            _open_deflated(content, end, limits)
            if syntax == DeflatedExplicitVRLittleEndian
            else dcmread(BytesIO(content), force=True)
        )
        _settle_syntax(dataset)
        return dataset
    except UnreadableError:
        raise
    except RecursionError:
        raise UnreadableError("too-deep", "its sequences are nested too deeply to be read") from None
    except EOFError as error:
        raise UnreadableError("truncated", f"the file ends inside an element ({first_line(error)})") from error
    except Exception as error:  # pydicom raises whatever a broken element made it trip over
        raise UnreadableError("bad-header", f"the DICOM header cannot be parsed ({first_line(error)})") from error


def _possible_first_tags(content: bytes) -> tuple[bytes, ...]:
    """The file's own first four bytes if they can be a first tag (groups 0002 and 0008), else nothing matches."""
    group, element = unpack_from("<HH", content.ljust(4, b"\0"))
    swapped = int.from_bytes(content[0:2], "big"), int.from_bytes(content[2:4], "big")
    plausible = (group in (0x0002, 0x0008) and element < 0x4000) or (swapped[0] == 0x0008 and swapped[1] < 0x4000)
    return (content[:4],) if plausible else ()


def _file_meta(content: bytes, start: int) -> tuple[str, int]:
    """Transfer syntax UID (empty when absent) and the offset at which group 0002 ends.

    Group 0002 is always Explicit VR Little Endian. Its stated length is not trusted: elements are walked.
    """
    at, syntax = start, ""
    try:
        while at + 8 <= len(content):
            group, element = unpack_from("<HH", content, at)
            if group != _TRANSFER_SYNTAX[0]:
                break
            if content[at + 4 : at + 6] in _LONG_VRS:
                (length,) = unpack_from("<I", content, at + 8)
                value = at + 12
            else:
                (length,) = unpack_from("<H", content, at + 6)
                value = at + 8
            if element == _TRANSFER_SYNTAX[1]:
                syntax = content[value : value + length].rstrip(b"\0 ").decode("ascii", "replace")
            at = value + length
    except StructError:
        raise UnreadableError("truncated", "the file ends inside its file meta information") from None
    return syntax, at


def _open_deflated(content: bytes, end: int, limits: Limits) -> Dataset:
    """Inflate what follows the file meta information (PS3.5 A.5), at most `inflated_bytes` of it, and parse that."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(content[end:], limits.inflated_bytes + 1)
    except zlib.error as error:
        raise UnreadableError("undecodable", f"the data set does not inflate ({first_line(error)})") from error
    if len(inflated) > limits.inflated_bytes:
        raise UnreadableError("too-large", f"the data set inflates to more than {limits.inflated_bytes} bytes")
    if not inflater.eof:
        raise UnreadableError("truncated", "the deflated data set ends before its end")
    dataset = read_dataset(BytesIO(inflated), is_implicit_VR=False, is_little_endian=True)
    dataset.set_original_encoding(False, True)
    dataset.file_meta = FileMetaDataset()
    # The pixel data is native once inflated, and this is what the decoders are to be told.
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _settle_syntax(dataset: Dataset) -> None:
    """Name the transfer syntax of a data set that came without one, from the encoding it was parsed with."""
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        meta = dataset.file_meta = FileMetaDataset()
    if meta.get("TransferSyntaxUID"):
        return
    implicit, little = dataset.original_encoding
    syntax: UID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    meta.TransferSyntaxUID = syntax
