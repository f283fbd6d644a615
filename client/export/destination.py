"""What a place for results must be able to do, whatever it is: a folder, a PACS by C-STORE, a PACS by STOW-RS."""

from __future__ import annotations

from typing import Literal, Protocol

from .objects import Made

# How it is known that an object is there: read again from where it went, found there by a query, or only answered for
# (in the last case by a PACS that changed or left out something by its own rules).
Proof = Literal["read back", "found again", "answered", "stored with changes"]


class Destination(Protocol):
    """A place for results. `save` is called for one object after another, from one thread."""

    @property
    def name(self) -> str:
        """Its name in the record of exports."""
        ...

    @property
    def remembered(self) -> bool:
        """Whether the node must remember what is there, because asking would be slow or impossible."""
        ...

    def holds(self, made: Made) -> bool:
        """Whether this very object is there already, where that need not be remembered."""
        ...

    def save(self, made: Made) -> Proof:
        """Bring an object there and return how that is known.

        Raises NotTakenError for this object alone, PacsError when nothing more can be brought there.
        """
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...
