"""Errors of the simulations floor."""

from __future__ import annotations

from ..errors import BadInputError, MedquorumError, RefusedError


class SimulationError(MedquorumError):
    """Root of everything raised in simulations/."""


class StudyError(SimulationError, BadInputError):
    """A study file, its table or its data cannot be used as they are."""


class StudyRefusedError(SimulationError, RefusedError):
    """A study that may not run, such as one that would overwrite another's results."""
