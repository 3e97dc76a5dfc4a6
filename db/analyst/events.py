"""Events as readers see them, in their newest revision."""

from __future__ import annotations

from sqlalchemy import Connection, text

from segwatch.db.analyst.cursors import fetch_page
from segwatch.db.analyst.rows import Rows, choose_bounds

_PAGE = text(
    """
    SELECT e.event_id, e.source, e.external_id, e.kind, e.title, e.occurred_at, e.ended_at, e.level, e.magnitude,
           e.magnitude_unit, e.population, e.cancelled, e.link, e.recorded_at,
           ST_XMin(e.geom) AS west, ST_YMin(e.geom) AS south, ST_XMax(e.geom) AS east, ST_YMax(e.geom) AS north,
           ST_XMin(ST_ShiftLongitude(e.geom)) AS west_to_360, ST_XMax(ST_ShiftLongitude(e.geom)) AS east_to_360
    FROM watch.events e
    WHERE (CAST(:kind AS text) IS NULL OR e.kind = CAST(:kind AS text))
      AND (e.recorded_at, e.event_id) < (CAST(:at AS timestamptz), CAST(:id AS uuid))
    ORDER BY e.recorded_at DESC, e.event_id DESC LIMIT :limit
    """
)


def list_events(
    conn: Connection, limit: int, *, kind: str | None = None, after: str | None = None
) -> tuple[Rows, str | None]:
    """List events with their bounds, the last recorded first, and the cursor of the next page.

    Parameters
    ----------
    kind
        Only events of this kind; None = all.
    after
        Cursor that the page before returned; None = the first page.

    Raises
    ------
    segwatch.db.errors.InvalidCursor
        ``after`` is no cursor.
    """
    rows, following = fetch_page(conn, _PAGE, limit, after, ("recorded_at", "event_id"), kind=kind)
    return [choose_bounds(row) for row in rows], following
