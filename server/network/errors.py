"""Errors of the coordinator's network side. Each has a number that docs/errors.md explains."""

from __future__ import annotations

from ...errors import BadInputError, RefusedError
from ..errors import ServerError


class NetworkError(ServerError):
    """Root of what goes wrong between the coordinator's own processes and with its port."""


class SuperLinkError(NetworkError):
    """Flower's SuperLink did not start, or did not answer as expected."""


class PlanChangedError(NetworkError, BadInputError):
    """A plan file does not say any more what its run was begun with."""


class RunStoppedError(NetworkError, RefusedError):
    """A run stopped for good, and says why."""


class EnrolmentError(NetworkError, BadInputError):
    """An enrolment that cannot be recorded or approved."""
