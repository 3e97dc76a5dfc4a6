"""Cursors of pages that are sorted by a time and an id, latest first: opaque to readers, and as fast on every page."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection, TextClause

from segwatch.db.analyst.rows import Rows, fetch_rows
from segwatch.db.errors import InvalidCursor

_NEVER = datetime.min.replace(tzinfo=UTC)
#: Before the first page.
START = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))


def write_cursor(moment: datetime | None, identity: UUID) -> str:
    """Write the place after a row; rows without a time come last."""
    plain = f"{(moment or _NEVER).isoformat()} {identity}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def read_cursor(given: str | None) -> tuple[datetime, UUID]:
    """Read the place after which a page begins; None = the first page.

    Raises
    ------
    InvalidCursor
        The text was not made by :func:`write_cursor`.
    """
    if given is None:
        return START
    try:
        moment, _, identity = (
            base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)).decode().partition(" ")
        )
        place = datetime.fromisoformat(moment), UUID(identity)
    except (ValueError, binascii.Error) as error:
        raise InvalidCursor("after: take the value of next from the page before") from error
    if place[0].tzinfo is None:
        raise InvalidCursor("after: take the value of next from the page before")
    return place


def fetch_page(
    conn: Connection,
    query: TextClause,
    limit: int,
    after: str | None,
    place: tuple[str, str],
    **values: object,
) -> tuple[Rows, str | None]:
    """Read a page of a query, and the cursor of the next page; None = this is the last one.

    Parameters
    ----------
    query
        Takes ``limit`` and, as ``at`` and ``id``, the place after which the page begins.
    after
        Cursor that the page before returned; None = the first page.
    place
        Columns of the time and of the id that pages are sorted by.

    Raises
    ------
    InvalidCursor
        ``after`` is no cursor.
    """
    at, identity = read_cursor(after)
    rows = fetch_rows(conn, query, at=at, id=identity, limit=limit, **values)
    if len(rows) < limit:
        return rows, None
    moment, last = place
    return rows, write_cursor(rows[-1][moment], rows[-1][last])
