"""Errors of the node's network side."""

from __future__ import annotations

from ...errors import BadInputError, RefusedError
from ...privacy.errors import VersionError
from ..errors import NodeError


class ConnectionLostError(NodeError):
    """The coordinator could not be reached or did not answer; the resident loop tries again."""

    number = "MQ301"


class UntrustedError(NodeError, RefusedError):
    """The other end is not who it should be: a wrong certificate, or a redirect to elsewhere."""

    number = "MQ302"


class NotAdmittedError(NodeError, RefusedError):
    """The coordinator does not know this node's key, or knows it no longer."""

    number = "MQ303"


class ClockError(NotAdmittedError):
    """The clocks of node and coordinator differ by so much that signatures over the time are refused."""

    number = "MQ304"


class FlowerVersionError(VersionError, NotAdmittedError):
    """The coordinator's SuperLink does not speak to this node's version of Flower."""


class SettingsError(NodeError, BadInputError):
    """The node's network settings are missing or make no sense."""

    number = "MQ306"
