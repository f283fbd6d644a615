"""Telling a full disk from every other fault, whichever library met it."""

from __future__ import annotations

import errno
import sqlite3

from .errors import NodeError

_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFullError(NodeError):
    """The node's disk, or its user's quota, is full. Nothing was answered, charged or released that is not on disk."""

    number = "MQ307"


def is_full(fault: BaseException) -> bool:
    """Whether the fault, or one that led to it, is that of a full disk (SQLITE_FULL, ENOSPC, EDQUOT)."""
    seen: set[int] = set()
    link: BaseException | None = fault
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, OSError) and link.errno in _FULL:
            return True
        # SQLCipher's module has exceptions of its own without the code; SQLite's words for it are the same.
        if getattr(link, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or "disk is full" in str(link):
            return True
        link = link.__cause__ or link.__context__
    return False
