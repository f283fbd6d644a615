"""The coordinator: plans, rounds, aggregation of what the sites contribute, releases."""

import os

# Flower reads these while it is imported, so they are set before any module of this package imports it.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
