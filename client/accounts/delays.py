"""How guessing is slowed: after some failures each further attempt must wait, twice as long as the one before. Pure.

Failures are counted for the account and for the address that they come from, so that neither many guesses at one
account nor one guess at many is fast. A browser in which a reader has signed in before is counted by itself and by
nothing else: whoever guesses from elsewhere can slow the others down, and never keeps a reader out of their own
browser. No wait is longer than a quarter of an hour, an attempt during it is not looked at and does not lengthen it,
and after a day without failures all is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 900.0
FORGOTTEN = 86400.0


@dataclass(frozen=True, slots=True)
class Failures:
    """How often signing in failed, and when last (seconds since 1970)."""

    count: int = 0
    at: float = 0.0


# How many failures are free, by what they are counted for. Many people may share an address.
FREE = {"account": 5, "address": 20, "browser": 5}


def wait(kind: str, failures: Failures, now: float) -> float:
    """Seconds until the next attempt is looked at; 0 when it is now.

    kind: what the failures are counted for, a key of FREE. A clock that was set back costs no more than one wait.
    """
    over = failures.count - FREE[kind]
    if over < 0 or now - failures.at >= FORGOTTEN:
        return 0.0
    pause = min(LONGEST, 2.0 ** min(over, 20))
    return min(pause, max(0.0, failures.at + pause - now))


def failed(failures: Failures, now: float) -> Failures:
    """The same with one failure more."""
    count = 0 if now - failures.at >= FORGOTTEN else failures.count
    return Failures(count + 1, now)


def spared(failures: Failures) -> Failures:
    """The same without the last attempt, which turned out to be none."""
    return Failures(max(0, failures.count - 1), failures.at)
