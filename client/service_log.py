"""The log of a command that serves until a signal: lines on standard error, which a service manager keeps."""

from __future__ import annotations

import logging
import sys


def log_to_standard_error() -> None:
    """From information upwards; of libraries that remark on every request or migration, warnings only."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
