"""Requests about a watch that does not exist, or that the reader may not see: both are answered with 404."""

from __future__ import annotations

from fastapi import HTTPException
from sqlalchemy import Connection

from segwatch.db import analyst


def check_watch(conn: Connection, watch: str) -> None:
    """Check that the reader of this request may see a watch of this name, so that a mistyped one is not "nothing".

    Raises
    ------
    HTTPException
        404: there is none.
    """
    if not analyst.has_watch(conn, watch):
        raise refuse_unknown(watch)


def refuse_unknown(watch: str) -> HTTPException:
    """Make the answer to a request about a watch that there is not."""
    return HTTPException(404, f"there is no watch named {watch!r}; /api/watches lists watches")
