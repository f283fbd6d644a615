"""The size that a compressed frame declares in its own header, read without decoding it.

A decoder allocates what the codestream asks for, whatever the DICOM header says: comparing the two first keeps a tiny
hostile frame from asking for gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import error as StructError
from struct import unpack_from

_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
_JPEG_START = b"\xff\xd8"
# Start-of-frame markers of JPEG (T.81 table B.1, without DHT, JPG and DAC) and of JPEG-LS (T.87: SOF55).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


@dataclass(frozen=True, slots=True)
class Codestream:
    """What a frame's own header declares: size in pixels, components, bits per component."""

    rows: int
    columns: int
    components: int
    precision: int


def declared(frame: bytes) -> Codestream | None:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 frame; None when there is none to be read."""
    try:
        if frame.startswith(_JP2_START):
            start = frame.find(_J2K_START)
            return _jpeg2000(frame, start) if start >= 0 else None
        if frame.startswith(_J2K_START):
            return _jpeg2000(frame, 0)
        return _jpeg(frame) if frame.startswith(_JPEG_START) else None
    except (StructError, IndexError):
        return None


def _jpeg2000(frame: bytes, start: int) -> Codestream:
    """SIZ marker segment, ISO 15444-1 A.5.1: the image area is the reference grid less its offset."""
    width, height, left, top = unpack_from(">4I", frame, start + 8)
    (components,) = unpack_from(">H", frame, start + 40)
    return Codestream(height - top, width - left, components, (frame[start + 42] & 0x7F) + 1)


def _jpeg(frame: bytes) -> Codestream | None:
    """Walk the marker segments of T.81 annex B up to the start of frame."""
    at = 2
    while at < len(frame):
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte before a marker
            at += 1
            continue
        if marker in _START_OF_FRAME:
            precision, rows, columns, components = unpack_from(">BHHB", frame, at + 4)
            return Codestream(rows, columns, components, precision)
        if marker == 0xDA:
            return None
        (length,) = unpack_from(">H", frame, at + 2)
        at += 2 + length
    return None
