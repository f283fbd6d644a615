"""One reader's statements about one frame as a timeline. Pure: undo and redo are read off the events, never kept apart.

Every action is an annotation that supersedes the one before. One that restates moves along the timeline; any other cuts
off what had been undone and adds itself. Nothing is ever taken away, so that what was cut off stays in the history.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..annotations import Annotation

NOTHING = ""  # what an undo restates that goes back to before the first statement


@dataclass(frozen=True, slots=True)
class Timeline:
    """said: what undo and redo move along, oldest first. at: how many of them count now (0: nothing is said).
    last: the newest event, which the next one supersedes."""

    said: tuple[Annotation, ...] = ()
    at: int = 0
    last: Annotation | None = None

    @property
    def current(self) -> Annotation | None:
        """What the reader says now."""
        return self.said[self.at - 1] if self.at else None

    @property
    def undo(self) -> str | None:
        """What an undo restates; None when there is nothing to undo."""
        if self.at == 0:
            return None
        return self.said[self.at - 2].id if self.at > 1 else NOTHING

    @property
    def redo(self) -> str | None:
        """What a redo restates; None when there is nothing to redo."""
        return self.said[self.at].id if self.at < len(self.said) else None

    def after(self, event: Annotation) -> Timeline:
        """The timeline with one event more."""
        place = self.place(event.restates)
        if place is not None:
            return Timeline(self.said, place, event)
        return Timeline((*self.said[: self.at], event), self.at + 1, event)

    @property
    def blind(self) -> Annotation | None:
        """The reader's newest word that was said without sight of other readings; None where there is none."""
        if self.last is not None and not self.last.weighed:
            return self.last if self.last.assessed else None
        earlier = (one for one in reversed(self.said[: self.at]) if one.assessed and not one.weighed)
        return next(earlier, None)

    def place(self, restated: str | None) -> int | None:
        """The place of what a restating event names: 0 for nothing said; None when it is not on the timeline."""
        if restated == NOTHING:
            return 0
        return next((place for place, one in enumerate(self.said, 1) if one.id == restated), None)


def replay(events: Iterable[Annotation]) -> Timeline:
    """The timeline of one reader's events about one frame, oldest first."""
    line = Timeline()
    for event in events:
        line = line.after(event)
    return line
