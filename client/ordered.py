"""Work done by several threads, results taken in the order in which the work was listed, memory bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], depth: int
) -> Iterator[Result]:
    """`work(item)` for each item, in order; at most `depth` are under way or waiting to be taken.

    What `work` raises is raised here, at its place in the order, and nothing further is begun.
    """
    source = iter(items)
    waiting: deque[Future[Result]] = deque(pool.submit(work, item) for item in islice(source, depth))
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(source, 1))
            yield result
    finally:
        for future in waiting:
            future.cancel()
