"""An account, as everybody but the sign-in sees it, and what a reader may be called. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from .errors import AccountError
from .roles import Role

LONGEST_NAME = 64
_SIGNS = frozenset(" ._@'-")
# invited: has a one-time code and no password yet. provider: signs in with the hospital's identity provider.
Standing = Literal["invited", "expired", "active", "provider", "disabled"]


@dataclass(frozen=True, slots=True)
class Account:
    """name: what stands in the reader's annotations; it is never given to another person. sessions: how many are open.
    made, last_in: seconds since 1970, UTC; last_in is None before the first time."""

    name: str
    role: Role
    standing: Standing
    sessions: int
    made: float
    last_in: float | None


def reader_name(text: str) -> str:
    """A reader's name in its one spelling (NFC, single spaces).

    Letters and digits of any script, space and ``. _ @ ' -``, at most LONGEST_NAME characters, beginning with a
    letter or digit. Raises AccountError.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    known = all(one in _SIGNS or unicodedata.category(one)[0] in "LNM" for one in name)
    if not name or len(name) > LONGEST_NAME or not known or not name[0].isalnum():
        raise AccountError(
            "a name that no account can have",
            fix=f"use letters, digits, spaces and . _ @ ' -, at most {LONGEST_NAME}, beginning with a letter or digit",
        )
    return name


def folded(name: str) -> str:
    """What two names share that must not both exist: case and width set aside."""
    return unicodedata.normalize("NFKC", name).casefold()
