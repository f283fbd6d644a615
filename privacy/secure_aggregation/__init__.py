"""Secure aggregation: the coordinator opens the sum of a quorum's vectors and learns nothing else of them.

Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017, in its variant
against an active adversary, with double masking. `SecureSite` and `SecureCoordinator` are the two state machines.
"""

from .coordinator import SecureCoordinator
from .errors import BreachError, QuorumLostError
from .sessions import Begun, Sessions
from .site import SecureSite
from .terms import Policy, Session, Terms
from .thresholds import guarantee, threshold
from .witness import Witness

__all__ = [
    "Begun",
    "BreachError",
    "Policy",
    "QuorumLostError",
    "SecureCoordinator",
    "SecureSite",
    "Session",
    "Sessions",
    "Terms",
    "Witness",
    "guarantee",
    "threshold",
]
