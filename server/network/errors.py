"""Errors of the coordinator's network side. Each has a number that docs/errors.md explains."""

from __future__ import annotations

from ...errors import BadInputError
from ..errors import ServerError


class NetworkError(ServerError):
    """Root of what goes wrong between the coordinator's own processes and with its port."""


class CertificateError(NetworkError, BadInputError):
    """A certificate or its key is missing or does not fit."""


class SuperLinkError(NetworkError):
    """Flower's SuperLink did not start, or did not answer as expected."""


class EnrolmentError(NetworkError, BadInputError):
    """An enrolment that cannot be recorded or approved."""
