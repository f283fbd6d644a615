"""Passwords: which are taken, and how they are kept.

The rules are those of NIST SP 800-63B-4, section 3.1.1.2, for a password that is the only factor: at least 15
characters, every character counts, none is demanded, nothing is cut off, no change after some time, and what guessing
programs try first (words of this place, repetitions, sequences, common words) is refused. Kept is an argon2id hash with
the second recommended parameters of RFC 9106, section 4 (3 passes over 64 MiB, 4 lanes).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from .errors import AccountError

SHORTEST, LONGEST = 15, 256
_LEFT = 8
_DISTINCT = 6
_COMMON = frozenset(
    re.findall(
        r"\S+",
        """
        password passwort passw0rd p@ssw0rd p@ssword qwertyuiop qwertz qwerty asdfghjkl asdfgh zxcvbnm zxcvbn
        yxcvbnm letmein welcome willkommen iloveyou admin administrator login hospital radiology radiologist
        reader changeme change secret master dragon monkey football baseball sunshine princess superman batman
        trustno1 shadow correct horse battery staple summer winter spring autumn woaini mima 1q2w3e4r5t 1q2w3e4r
        1qaz2wsx 3edc4rfv
        """,
    )
)
_LINES = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm")


def spelled(password: str) -> str:
    """The spelling of a password that is hashed: NFC, so that it is the same from every keyboard."""
    return unicodedata.normalize("NFC", password)


def require_good(password: str, words: Iterable[str] = ()) -> None:
    """AccountError unless a new password may be taken. words: what belongs to this place or person, such as the
    reader's and the site's name."""
    text = spelled(password)
    if len(text) < SHORTEST:
        raise AccountError(
            f"a password of fewer than {SHORTEST} characters", fix="use a longer one, such as several words of your own"
        )
    if len(text) > LONGEST:
        raise AccountError(f"a password of more than {LONGEST} characters", fix="use a shorter one")
    if _guessable(text, words):
        raise AccountError(
            "a password that is guessed early: common words, this place's or your own name, a repetition or a sequence",
            fix="use several words that have nothing to do with each other, or have a password manager make one",
        )


def _guessable(text: str, words: Iterable[str]) -> bool:
    rest = text.casefold()
    if len(set(rest)) < _DISTINCT or re.fullmatch(r"(.+?)\1+", rest, re.DOTALL):
        return True
    known = {*_COMMON, "medquorum", *(part for word in words for part in re.split(r"\W+", word.casefold()))}
    for word in sorted((one for one in known if len(one) > 2), key=len, reverse=True):
        rest = rest.replace(word, "\x00")
    for line in _LINES:
        for way in (line, line[::-1]):
            for length in range(len(way), 3, -1):
                for start in range(len(way) - length + 1):
                    rest = rest.replace(way[start : start + length], "\x00")
    return len(rest.replace("\x00", "").replace(" ", "")) < _LEFT


class Hasher:
    """Keeps and checks passwords. Every check costs the same, whether there is an account or not."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash("nobody has this password, and it is checked where there is no account")

    def prepare(self) -> None:
        """Do once what the first check of an unknown name would need more time for."""
        assert self._nobody

    def kept(self, password: str) -> str:
        """What is kept of a password."""
        return self._hasher.hash(spelled(password))

    def right(self, kept: str | None, password: str) -> bool:
        """Whether a password is the one that was kept; never, and at the same cost, where none was."""
        try:
            self._hasher.verify(kept or self._nobody, spelled(password))
        except (VerificationError, InvalidHashError):
            return False
        return kept is not None

    def outdated(self, kept: str) -> bool:
        """Whether a password was kept under other parameters than today's, and should be kept anew."""
        return self._hasher.check_needs_rehash(kept)
