"""Lets Flower's grid look again sooner for the parts of an answer that are still on their way.

A node announces its answer first and pushes the answer's parts next. A grid that pulls in between is told that a part
is not there yet, and Flower 1.41 then sleeps for a second, and for two more, in each of the five steps of a sum.
"""

from __future__ import annotations

from functools import partial

from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.superlink.grid import http_grid

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5


def look_again_sooner() -> None:
    """Shorten the pauses of this process's grid; the number of tries and the deadline stay Flower's own."""
    patient = partial(pull_objects, initial_backoff=FIRST_PAUSE, backoff_cap=LONGEST_PAUSE)
    http_grid.__dict__["pull_objects"] = patient  # the name that its pull_messages looks up
