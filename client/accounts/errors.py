"""Errors of accounts and of signing in."""

from __future__ import annotations

from ...errors import BadInputError, RefusedError
from ..errors import NodeError


class AccountError(NodeError, BadInputError):
    """An account, a name or a password that cannot be as it was given."""


class AccountRefusedError(NodeError, RefusedError):
    """A change of accounts that would leave nobody to make another."""


class SignInError(NodeError, RefusedError):
    """Somebody was not let in. It says no more than they knew before."""


class SlowDownError(SignInError):
    """Too many attempts; seconds: until the next is looked at."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"too many attempts failed; the next is looked at in {seconds} seconds", fix="wait, then try")
