"""Alembic's environment. The connection, with the lock held, is handed in by fhirhub.store.upgrade."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
