"""What a de-identified instance was is kept beside it, for sending results back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the re-identification map; instances stored before have no row in it."""
    op.create_table(
        "originals",
        sa.Column("instance", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["instance"], ["instances.id"], name=op.f("fk_originals_instance")),
        sa.PrimaryKeyConstraint("instance", name=op.f("pk_originals")),
    )
