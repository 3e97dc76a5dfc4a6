"""Objects as the map shows them, and the reviews about them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows

_VERSION = text("SELECT watch.data_version(:watch)")
_TILE = text(
    "SELECT watch.data_version(:watch), watch.objects_tile(:watch, CAST(:at AS timestamptz), :z, :x, :y,"
    " known_at => coalesce(CAST(:known_at AS timestamptz), 'infinity'))"
)
_PROBE = text("SELECT 1 FROM watch.objects_now LIMIT 1")
_REVIEWS = text("SELECT * FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id")
_REVIEWS_WITHOUT_GEOMETRY = text(
    """
    SELECT review_id, track_id, target, verdict, reviewer, reason, decided_at, holds, carried_from
    FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id
    """
)


@dataclass(frozen=True, slots=True)
class TilePlace:
    """A tile of the web mercator grid."""

    z: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class TileMoment:
    """Which objects of a watch a tile shows. Times are texts as PostgreSQL reads them."""

    watch: str
    at: str
    known_at: str | None = None
    """Only what was recorded up to then; None = everything."""

    @property
    def longest_text(self) -> int:
        """Length of the longest of the texts, which a client chose."""
        return max(len(self.watch), len(self.at), len(self.known_at or ""))


def read_version(conn: Connection, watch: str) -> str:
    """Return the version of what is known about a watch; nothing shown for a fixed time changes while it stays."""
    return str(conn.execute(_VERSION, {"watch": watch}).scalar_one())


def read_object_tile(conn: Connection, moment: TileMoment, place: TilePlace) -> tuple[str, bytes]:
    """Make the vector tile (MVT) of a watch's objects as they were at a time; see ``watch.objects_tile``.

    Returns
    -------
    tuple[str, bytes]
        The version that the tile was made from, as :func:`read_version` names it, and the tile.
    """
    version, tile = conn.execute(_TILE, asdict(moment) | asdict(place)).one()
    return str(version), bytes(tile)


def check_readable(conn: Connection) -> None:
    """Read a row of the analyst views; raises what the database raises when it cannot."""
    conn.execute(_PROBE)


def list_reviews(conn: Connection, watch: str, *, geometry: bool = False) -> Rows:
    """List every review of the objects of a watch, oldest first; ``geometry`` adds the outlines as hex EWKB."""
    return fetch_rows(conn, _REVIEWS if geometry else _REVIEWS_WITHOUT_GEOMETRY, watch=watch)
