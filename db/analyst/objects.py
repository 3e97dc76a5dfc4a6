"""Objects as the map shows them, and the reviews about them."""

from __future__ import annotations

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows

#: Two equal texts name two snapshots that see the same transactions.
_SNAPSHOT = text("SELECT CAST(pg_current_snapshot() AS text)")
_TILE = text(
    "SELECT CAST(pg_current_snapshot() AS text),"
    " watch.objects_tile(:watch, CAST(:at AS timestamptz), :z, :x, :y)"
)
_PROBE = text("SELECT 1 FROM watch.objects_now LIMIT 1")
_REVIEWS = text("SELECT * FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id")
_REVIEWS_WITHOUT_GEOMETRY = text(
    """
    SELECT review_id, track_id, target, verdict, reviewer, reason, decided_at, holds, carried_from
    FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id
    """
)


def read_snapshot(conn: Connection) -> str:
    """Name the database snapshot that this transaction sees; nothing read changes while the name stays the same."""
    return str(conn.execute(_SNAPSHOT).scalar_one())


def read_object_tile(conn: Connection, watch: str, at: str, z: int, x: int, y: int) -> tuple[str, bytes]:
    """Make the vector tile (MVT) of a watch's objects as they were at a time.

    ``z``, ``x`` and ``y`` count tiles of the web mercator grid; see the database function ``watch.objects_tile``.

    Returns
    -------
    tuple[str, bytes]
        The snapshot that the tile was made from, as :func:`read_snapshot` names it, and the tile.
    """
    values = {"watch": watch, "at": at, "z": z, "x": x, "y": y}
    snapshot, tile = conn.execute(_TILE, values).one()
    return str(snapshot), bytes(tile)


def check_readable(conn: Connection) -> None:
    """Read a row of the analyst views; raises what the database raises when it cannot."""
    conn.execute(_PROBE)


def list_reviews(conn: Connection, watch: str, *, geometry: bool = False) -> Rows:
    """List every review of the objects of a watch, oldest first; ``geometry`` adds the outlines as hex EWKB."""
    return fetch_rows(conn, _REVIEWS if geometry else _REVIEWS_WITHOUT_GEOMETRY, watch=watch)
