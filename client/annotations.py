"""What is said about an image: regions, the model's proposal, the reader's annotation. Pure data, no storage.

Coordinates are stored-pixel coordinates: x counts columns from the left edge, y rows from the top edge, and pixel
(row r, column c) covers [c, c + 1) x [r, r + 1), whatever rotation, inversion or zoom the viewer applied.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import AnnotationError

State = Literal["present", "absent", "uncertain", "not_assessed"]
Origin = Literal["proposed", "drawn"]

STATES: tuple[State, ...] = get_args(State)
ORIGINS: tuple[Origin, ...] = get_args(Origin)
LONGEST_COMMENT = 2000


def new_id() -> str:
    """A fresh opaque identifier: 128 random bits in hexadecimal, saying nothing about what it names."""
    return secrets.token_hex(16)


def utc_now() -> datetime:
    """The present moment in UTC, to the microsecond."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle [x0, x1) x [y0, y1) in stored-pixel coordinates, of positive area."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        corners = (self.x0, self.y0, self.x1, self.y1)
        if not all(math.isfinite(value) for value in corners):
            raise AnnotationError(f"a box has a corner that is not a number: {corners}", fix="give finite corners")
        if self.x0 < 0 or self.y0 < 0 or self.x1 <= self.x0 or self.y1 <= self.y0:
            raise AnnotationError(
                f"box {corners} is empty or begins outside the image", fix="give 0 <= x0 < x1 and 0 <= y0 < y1"
            )

    def mask(self, rows: int, columns: int) -> NDArray[np.bool_]:
        """The pixels whose centres lie in the box, as a (rows, columns) boolean array."""
        y = np.arange(rows) + 0.5
        x = np.arange(columns) + 0.5
        return ((y >= self.y0) & (y < self.y1))[:, None] & ((x >= self.x0) & (x < self.x1))[None, :]


@dataclass(frozen=True, slots=True)
class Mask:
    """A set of stored pixels: `bits` holds the (rows, columns) array row by row, most significant bit first.

    Padding bits after the last pixel are zero, so that one set of pixels has one representation.
    """

    rows: int
    columns: int
    bits: bytes

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise AnnotationError(f"a mask of {self.rows} x {self.columns} pixels", fix="give the image's own size")
        pixels = self.rows * self.columns
        if len(self.bits) != (pixels + 7) // 8:
            raise AnnotationError(
                f"a mask of {self.rows} x {self.columns} pixels with {len(self.bits)} bytes",
                fix=f"pack it into {(pixels + 7) // 8} bytes; Mask.of does",
            )
        if pixels % 8 and self.bits[-1] & (0xFF >> pixels % 8):
            raise AnnotationError("a mask's padding bits are not zero", fix="pack it with Mask.of")

    @staticmethod
    def of(array: NDArray[np.bool_]) -> Mask:
        """Pack a (rows, columns) boolean array; AnnotationError when it is not two-dimensional and boolean."""
        if array.ndim != 2 or array.dtype != np.bool_:
            raise AnnotationError(
                f"a mask from a {array.ndim}-dimensional {array.dtype} array", fix="give a 2-D boolean array"
            )
        return Mask(int(array.shape[0]), int(array.shape[1]), np.packbits(array).tobytes())

    def array(self) -> NDArray[np.bool_]:
        """The mask as a (rows, columns) boolean array."""
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=self.rows * self.columns)
        return flat.reshape(self.rows, self.columns).astype(np.bool_)


@dataclass(frozen=True, slots=True)
class Region:
    """Where a finding is: a box or a mask, as the model proposed it or as a reader drew it."""

    finding: str
    shape: Box | Mask
    origin: Origin

    def __post_init__(self) -> None:
        if not self.finding:
            raise AnnotationError("a region names no finding", fix="give the finding's key")
        if self.origin not in ORIGINS:
            raise AnnotationError(f"a region's origin is {self.origin!r}", fix=f"use one of {ORIGINS}")


def _require_target(kind: str, identifier: str, instance: str, frame: int, at: datetime) -> None:
    if not identifier or not instance:
        raise AnnotationError(f"{kind} without an id or an instance", fix="give both; new_id() makes an id")
    if frame < 0:
        raise AnnotationError(f"{kind} of frame {frame}", fix="count frames from 0")
    if at.utcoffset() != timedelta(0):
        raise AnnotationError(f"{kind}'s time {at} is not in UTC", fix="give a datetime with tzinfo=UTC")


def _require_distinct(kind: str, findings: list[str]) -> None:
    if len(set(findings)) != len(findings):
        raise AnnotationError(f"{kind} lists a finding twice: {findings}", fix="list each finding once")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a released model says of one frame (counted from 0).

    release: the release's SHA-256 in hexadecimal. probabilities: calibrated, in [0, 1], one for each finding.
    applicable: False when the image is outside the release's modality, body part or view; then `reason` says which,
    and there are neither probabilities nor regions. at: UTC.
    """

    id: str
    instance: str
    frame: int
    release: str
    applicable: bool
    reason: str
    probabilities: tuple[tuple[str, float], ...]
    regions: tuple[Region, ...]
    at: datetime

    def __post_init__(self) -> None:
        _require_target("a proposal", self.id, self.instance, self.frame, self.at)
        if not self.release:
            raise AnnotationError("a proposal names no release", fix="give the release's hash in hexadecimal")
        _require_distinct("a proposal", [finding for finding, _ in self.probabilities])
        for finding, probability in self.probabilities:
            if not 0.0 <= probability <= 1.0:
                raise AnnotationError(
                    f"the proposed probability of {finding!r} is {probability}", fix="give a number in [0, 1]"
                )
        if not self.applicable and (self.probabilities or self.regions or not self.reason):
            raise AnnotationError(
                "a proposal that is not applicable states findings or no reason", fix="give the reason and nothing else"
            )


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a reader stands behind for one frame; an event that is never changed, only superseded.

    release, proposal: the model release and the proposal that the reader was shown (None: the proposal was hidden
    or there was none). actions, seconds: the reader's effort since the annotation before. supersedes: the annotation
    that this one replaces. comment: the reader's own words, at most LONGEST_COMMENT characters. restates: by an undo
    or a redo, the annotation that it says again ("": back to where nothing had been said); None for all others.
    as_lead: the reader spoke as a lead reader, by role, at that moment. weighed: the readings (annotations' ids) that
    lay before a lead who settled a disagreement; () for every reading made without sight of others.
    """

    id: str
    instance: str
    frame: int
    reader: str
    at: datetime
    release: str | None
    proposal: str | None
    states: tuple[tuple[str, State], ...]
    regions: tuple[Region, ...]
    actions: int
    seconds: float
    supersedes: str | None
    comment: str = ""
    restates: str | None = None
    as_lead: bool = False
    weighed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_target("an annotation", self.id, self.instance, self.frame, self.at)
        if not self.reader:
            raise AnnotationError("an annotation names no reader", fix="give the reader's name")
        if (self.release is None) != (self.proposal is None):
            raise AnnotationError(
                "an annotation names a shown proposal without its release, or a release without a proposal",
                fix="give both, or neither when the proposal was hidden",
            )
        _require_distinct("an annotation", [finding for finding, _ in self.states])
        for finding, state in self.states:
            if state not in STATES:
                raise AnnotationError(f"{finding!r} is stated {state!r}", fix=f"use one of {STATES}")
        stated = {finding for finding, _ in self.states}
        for region in self.regions:
            if region.finding not in stated:
                raise AnnotationError(
                    f"a region of {region.finding!r}, of which nothing is stated", fix="state the finding as well"
                )
        if len(self.comment) > LONGEST_COMMENT:
            raise AnnotationError(
                f"a comment of {len(self.comment)} characters", fix=f"say it in {LONGEST_COMMENT} or fewer"
            )
        if self.actions < 0 or not (math.isfinite(self.seconds) and self.seconds >= 0.0):
            raise AnnotationError(
                f"an effort of {self.actions} actions and {self.seconds} seconds", fix="give numbers at or above 0"
            )

    @property
    def assessed(self) -> bool:
        """Whether any finding is stated at all; an annotation without one says that nothing has been read."""
        return any(state != "not_assessed" for _, state in self.states)
