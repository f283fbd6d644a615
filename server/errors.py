"""Errors of the coordinator."""

from __future__ import annotations

from ..errors import BadInputError, MedquorumError, RefusedError


class ServerError(MedquorumError):
    """Root of everything raised in server/."""


class RunError(ServerError, BadInputError):
    """A run's folder does not hold what it should, or holds another run."""


class PlanFileError(ServerError, BadInputError):
    """A plan file cannot be used as it is."""


class BusyError(ServerError, RefusedError):
    """Another coordinator process is working on the same run."""


class QuorumError(ServerError, RefusedError):
    """Too few sites agreed or answered for a sum to be opened; what was finished is kept.

    curable: enough sites have not said no, so that another try may open it once they are back.
    """

    curable: bool = False
