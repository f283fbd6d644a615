"""The side of a store that readers and the model write to: proposals, annotations, and what is read off them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..annotations import Annotation, Proposal
from . import instances, reviews, tracing
from .acceptances import AcceptanceView
from .desk import DeskView
from .labels import LabelView
from .overseen import Overseen
from .rows import InstanceRow


class Reviewed(Overseen):
    """An open vault, as reviewing sees it."""

    def without_proposal(self, release: str) -> list[InstanceRow]:
        """Images of which no frame has a proposal of this release, in order of arrival."""
        with self._vault.transaction() as connection:
            query = instances.select_instances().where(~reviews.has_proposal(release))
            rows = connection.execute(query).all()
            return [instances.row_of(self._vault, connection, row) for row in rows]

    def add_proposals(self, proposals: Sequence[Proposal]) -> None:
        """Append proposals in one transaction; give all frames of an image in one call.

        Raises AnnotationError when a region is not in the image's own stored-pixel coordinates.
        """
        with self._vault.transaction() as connection:
            reviews.add_proposals(self._vault, connection, proposals)

    def proposals(self, release: str, frame: int = 0) -> dict[str, Proposal]:
        """A release's newest proposal for one frame of each instance."""
        with self._vault.transaction() as connection:
            return reviews.proposals(self._vault, connection, release, frame)

    def proposals_of(self, instance: str) -> list[Proposal]:
        """Every proposal for an instance: all frames, all releases, oldest first."""
        with self._vault.transaction() as connection:
            return reviews.proposals_of(self._vault, connection, instance)

    def annotate(self, annotation: Annotation) -> None:
        """Append an annotation.

        One that supersedes nothing is a reading of its own. Raises ConflictError when what it supersedes has been
        superseded by another, AnnotationError when a region is not on the image's grid.
        """
        self.annotate_many([annotation])

    def annotate_many(self, annotations: Sequence[Annotation]) -> None:
        """As `annotate` for many, in one transaction: all of them or none."""
        with self._vault.transaction() as connection:
            reviews.add_annotations(self._vault, connection, annotations)
            tracing.note_reviews(self._vault, connection, annotations)

    def current_annotations(self) -> dict[tuple[str, int], Annotation]:
        """For each annotated (instance, frame), the newest annotation that no other supersedes."""
        with self._vault.transaction() as connection:
            return reviews.current(self._vault, connection)

    def annotations(self, identifiers: Iterable[str]) -> dict[str, Annotation]:
        """Annotations by id, current or not (a frozen record names the one that counts for its plan)."""
        with self._vault.transaction() as connection:
            return reviews.by_id(self._vault, connection, identifiers)

    def history(self, instance: str) -> list[Annotation]:
        """Every annotation of an instance, oldest first."""
        with self._vault.transaction() as connection:
            return reviews.history(self._vault, connection, instance)

    def desk(self) -> DeskView:
        """The store as a reader's desk sees it: studies, and what was said since."""
        return DeskView(self._vault)

    def acceptances(self) -> AcceptanceView:
        """Labels accepted unseen: the model's own word, and no reading."""
        return AcceptanceView(self._vault)

    def labels(self) -> LabelView:
        """Which labels count, by the site's rule."""
        return LabelView(self._vault)
