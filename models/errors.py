"""Errors of the models floor: networks, checkpoints and what privacy can train."""

from __future__ import annotations

from ..errors import BadInputError, MedquorumError, RefusedError


class ModelError(MedquorumError):
    """Root of everything raised in models/."""


class CardError(ModelError, BadInputError):
    """A model card contradicts itself, or its JSON is not one of our cards."""


class CheckpointError(ModelError, BadInputError):
    """A checkpoint's bytes are not a release that can be trusted and loaded."""


class WeightsError(ModelError, BadInputError):
    """Starting weights that the architecture asks for cannot be had or do not fit."""


class ImageError(ModelError, BadInputError):
    """An array handed to the network's input transform is not an image it can take."""


class UntrainableError(ModelError, RefusedError):
    """A network holds something whose per-patient gradient is undefined or would be computed wrongly."""
