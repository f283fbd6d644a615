"""Errors of the privacy floor: plans, messages, accounting, the ledger and aggregation."""

from __future__ import annotations

from ..errors import BadInputError, MedquorumError, RefusedError


class PrivacyError(MedquorumError):
    """Root of everything raised in privacy/."""


class PlanError(PrivacyError, BadInputError):
    """A plan contradicts itself or leaves something unsaid."""


class WireError(PrivacyError, BadInputError):
    """Bytes that are not one of our messages, or not in their one canonical form."""


class VersionError(WireError):
    """The two ends run versions that do not speak to each other."""

    number = "MQ305"


class UnaccountableError(PrivacyError, RefusedError):
    """A privacy figure was asked for that cannot be proved, so nothing may run under it."""


class BudgetError(PrivacyError, RefusedError):
    """The ledger would pass its cap."""


class LedgerError(PrivacyError):
    """The ledger on disk cannot be trusted or written."""


class AggregationError(PrivacyError, RefusedError):
    """A step of the aggregation broke its rules, so nothing is contributed or opened."""


class IdentityError(PrivacyError, BadInputError):
    """A site's key cannot be made, stored, read or believed."""


class RosterError(PrivacyError, RefusedError):
    """A change of the roster that nobody entitled to it has asked for, or a site that is not on it."""


class CertificateError(PrivacyError, BadInputError):
    """A certificate or its key is missing or does not fit."""
