"""The log of a run: a file in the run's folder, and standard error only for those who ask."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@contextmanager
def run_log(path: Path, echo: TextIO | None) -> Generator[None]:
    """Send the process's logs and warnings to the file `path`, made when there is something to write, and to `echo`.

    Libraries' are kept from warnings upwards (from information upwards with `echo`), ours always from information
    upwards. What was set before is set again at the end.
    """
    # Its handler on standard error is made at import, so it must be there before it can be taken away.
    from flwr.common.logger import FLOWER_LOGGER

    root, ours = logging.getLogger(), logging.getLogger("medquorum")
    handlers: list[logging.Handler] = [logging.FileHandler(path, encoding="utf-8", delay=True)]
    if echo is not None:
        handlers.append(logging.StreamHandler(echo))
    before = (root.handlers[:], root.level, ours.level, FLOWER_LOGGER.handlers[:], FLOWER_LOGGER.level)
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))
    root.handlers[:] = handlers
    root.setLevel(logging.WARNING if echo is None else logging.INFO)
    ours.setLevel(logging.INFO)
    FLOWER_LOGGER.handlers.clear()
    FLOWER_LOGGER.setLevel(root.level)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:], FLOWER_LOGGER.handlers[:] = before[0], before[3]
        root.setLevel(before[1])
        ours.setLevel(before[2])
        FLOWER_LOGGER.setLevel(before[4])
        for handler in handlers:
            handler.close()
