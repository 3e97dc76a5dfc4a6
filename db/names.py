"""Names and ids for the completion of a shell: read in milliseconds, without SQLAlchemy, and never waited for."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

import psycopg

_CONNECT_SECONDS = 1
_OPTIONS = "-c statement_timeout=500 -c default_transaction_read_only=on"
_MAX = 200
_WATCHES: LiteralString = (
    "SELECT name FROM segwatch.watch_head WHERE starts_with(name, %s) ORDER BY 1 LIMIT %s"
)
_TOKENS: LiteralString = """
    SELECT name FROM segwatch.access_token WHERE revoked_at IS NULL AND starts_with(name, %s) ORDER BY 1 LIMIT %s"""
_ALERTS: LiteralString = """
    SELECT CAST(a.id AS text), 'rule ' || a.rule FROM segwatch.alert a
    WHERE a.id BETWEEN %s AND %s ORDER BY a.id LIMIT %s"""
_OBJECTS: LiteralString = """
    SELECT CAST(t.id AS text), t.target FROM segwatch.track t
    WHERE t.id BETWEEN %s AND %s ORDER BY t.id LIMIT %s"""
_DIGITS = 32


def list_watches(url: str, begins: str) -> list[str]:
    """List names of watches that begin so."""
    return [row[0] for row in _read(url, _WATCHES, begins, _MAX)]


def list_tokens(url: str, begins: str) -> list[str]:
    """List names of tokens that begin so."""
    return [row[0] for row in _read(url, _TOKENS, begins, _MAX)]


def list_alerts(url: str, begins: str) -> list[tuple[str, str]]:
    """List ids of alerts that begin so, with their rules."""
    return [(row[0], row[1]) for row in _read(url, _ALERTS, *bound_ids(begins), _MAX)]


def list_objects(url: str, begins: str) -> list[tuple[str, str]]:
    """List ids of objects that begin so, with their targets."""
    return [(row[0], row[1]) for row in _read(url, _OBJECTS, *bound_ids(begins), _MAX)]


def bound_ids(begins: str) -> tuple[UUID, UUID]:
    """Return the first and last UUID that begin with these hexadecimal digits; hyphens count for nothing.

    Raises
    ------
    ValueError
        These are no hexadecimal digits, or more than a UUID has.
    """
    digits = begins.replace("-", "")
    return UUID(digits.ljust(_DIGITS, "0")), UUID(digits.ljust(_DIGITS, "f"))


def _read(url: str, query: LiteralString, *values: object) -> list[tuple[str, ...]]:
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(plain, connect_timeout=_CONNECT_SECONDS, options=_OPTIONS) as conn:
        return conn.execute(query, values).fetchall()
