"""What a person at the desk may do: read, settle what readers disagree on, or look after the accounts."""

from __future__ import annotations

from typing import Literal, get_args

# A reader reads. A lead also sees the readers' names and settles disagreements. An admin is a lead who also keeps the
# accounts.
Role = Literal["reader", "lead", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


def at_least(role: Role, needed: Role) -> bool:
    """Whether a role includes another."""
    return ROLES.index(role) >= ROLES.index(needed)
