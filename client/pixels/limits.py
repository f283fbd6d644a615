"""What a file may ask of this machine before it is refused.

Header values are compared with these before any buffer is allocated: a one-kilobyte file can declare a frame of eight
gibibytes, and a one-megabyte deflated file can inflate to several.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, generous for radiographs, sections and cine loops; whole-slide pyramids are beyond them.

    `file_bytes` bounds a file as it lies on disk, `inflated_bytes` a deflated data set after inflation, `side` rows
    and columns alike, `frames` the frames of one instance, `frame_bytes` one decoded frame (frames are decoded one
    at a time, so this also bounds what one worker holds), `decoded_bytes` all of them together, `table_bytes` the data
    of one look-up table. `depth` bounds how deeply sequences lie in each other (1: none in another), `elements` all
    elements at every depth, `element_bytes` the value of one that is not the pixels.
    """

    file_bytes: int = 2 << 30
    inflated_bytes: int = 512 << 20
    side: int = 20_000
    frames: int = 20_000
    frame_bytes: int = 512 << 20
    decoded_bytes: int = 32 << 30
    table_bytes: int = 1 << 18
    depth: int = 24
    elements: int = 1_000_000
    element_bytes: int = 64 << 20


DEFAULT_LIMITS = Limits()
