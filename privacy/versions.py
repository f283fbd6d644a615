"""Which releases of medquorum talk to each other: those of one major version at most one minor release apart.

Both sides ask the same question of the other's version at the first message (the greeting and its answer), so that
either both go on or both say why not.
"""

from __future__ import annotations

import re

from .errors import VersionError

_VERSION = re.compile(r"(\d{1,6})(?:\.(\d{1,6}))?(?:[.+a-z-][0-9A-Za-z.+-]{0,40})?")


def compatible(own: str, other: str) -> bool:
    """Whether two releases ("MAJOR.MINOR…") talk to each other; False for what is no version."""
    one, two = _parsed(own), _parsed(other)
    return one is not None and two is not None and one[0] == two[0] and abs(one[1] - two[1]) <= 1


def require_compatible(own: str, other: str, who: str) -> None:
    """Raise VersionError, naming both releases, unless they talk to each other. who: the other side, in words."""
    if not compatible(own, other):
        shown = other if _parsed(other) else "no version that is known here"
        raise VersionError(
            f"{who} runs medquorum {shown}, this side {own}: they are more than one minor release apart",
            where="greeting",
            fix="install the release that the operator names on the older side",
        )


def _parsed(version: str) -> tuple[int, int] | None:
    found = _VERSION.fullmatch(version)
    return None if found is None else (int(found[1]), int(found[2] or 0))
