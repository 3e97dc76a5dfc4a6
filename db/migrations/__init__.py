"""Alembic migrations of the ledger; see :mod:`segwatch.db.migrate`."""
