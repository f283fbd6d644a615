"""Alembic's entry: runs the pending migrations on the connection that the store hands over, in one transaction."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
# SQLite can roll back schema changes; Alembic assumes that it cannot unless told.
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
