"""medquorum: a federated, privacy-preserving annotation network for medical images."""

import os

__version__ = "0.1.0"

# Flower reads these when it is imported. Nothing about a hospital's runs is for others to know.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
