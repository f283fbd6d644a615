"""What the desk refuses, apart from what the store does."""

from __future__ import annotations

from ...errors import RefusedError
from ..errors import NodeError


class UnknownError(NodeError):
    """A study, image or finding that is not there, or is not any more."""


class HiddenError(NodeError, RefusedError):
    """What this reader is not to see: a proposal of a study that is read without it, or what is for leads."""
