"""Errors of the hospital node: its keys, its store, intake, pixels and annotations."""

from __future__ import annotations

from ..errors import BadInputError, MedquorumError, RefusedError


class NodeError(MedquorumError):
    """Root of everything raised in client/."""


class AnnotationError(NodeError, BadInputError):
    """A region, proposal or annotation that contradicts itself or the image it is about."""


class KeyFileError(NodeError):
    """The node's key is missing, unreadable, malformed, or open to others."""


class StoreError(NodeError):
    """The store cannot be opened, read or written as asked."""


class StoreBusyError(StoreError):
    """Another process has the store open."""


class ConflictError(StoreError, RefusedError):
    """What is to be stored contradicts what already is: one UID with two contents or patients, a stale review."""


class TamperError(StoreError):
    """Stored bytes are not what was written: a failed authentication tag or a broken hash chain."""


class IntakeError(NodeError, BadInputError):
    """A folder, table or file cannot be imported as given."""


class RefusedIntakeError(NodeError, RefusedError):
    """A file from quarantine is refused again."""


class PixelError(NodeError, BadInputError):
    """An image whose pixels cannot be decoded or rendered."""
