"""Frozen records that a plan is measured by stand beside those it trains on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was frozen before was all trained on."""
    op.add_column("frozen_records", sa.Column("held_out", sa.Boolean(), nullable=False, server_default=sa.false()))
