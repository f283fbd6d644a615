"""Errors of the node's network side."""

from __future__ import annotations

from ...errors import BadInputError, RefusedError
from ..errors import NodeError


class ConnectionLostError(NodeError):
    """The coordinator could not be reached or did not answer; the resident loop tries again."""


class UntrustedError(NodeError, RefusedError):
    """The other end is not who it should be: a wrong certificate, or a redirect to elsewhere."""


class NotAdmittedError(NodeError, RefusedError):
    """The coordinator does not know this node's key, or knows it no longer."""


class SettingsError(NodeError, BadInputError):
    """The node's network settings are missing or make no sense."""
