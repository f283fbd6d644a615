"""medquorum: a federated, privacy-preserving annotation network for medical images."""

__version__ = "0.1.0"
