"""Errors of the way back to the PACS."""

from __future__ import annotations

from ...errors import BadInputError
from ..errors import NodeError


class ExportError(NodeError):
    """A result cannot be written, or what was written is not what was meant."""


class ExportRequestError(ExportError, BadInputError):
    """What was asked for cannot be exported as asked: an unknown PACS, an unknown kind, a folder that is in use."""


class PacsError(ExportError):
    """A PACS cannot be reached, refuses to talk, or breaks off."""


class NotTakenError(ExportError):
    """A destination does not take one object, or holds something else than was sent; the others may still go."""
