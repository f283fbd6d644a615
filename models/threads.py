"""How many threads torch uses for work that is too small to share."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Generator[None]:
    """Do the work inside with one thread.

    Training or running a head is thousands of operations of well under a millisecond. Shared among threads, each ends
    in a wait for the slowest, and OpenMP's threads spin while they wait: beside another busy process five steps took
    nine times as long on two threads as on one. One thread also adds up in one order, whatever the machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
