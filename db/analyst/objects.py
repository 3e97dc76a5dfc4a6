"""Objects as the map shows them, those of a time, and the reviews about them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db.analyst.cursors import read_cursor, write_cursor
from segwatch.db.analyst.rows import Rows, fetch_rows
from segwatch.db.codec import to_ewkb

_VERSION = text("SELECT watch.data_version(:watch)")
_TILE = text(
    "SELECT watch.data_version(:watch), watch.objects_tile(:watch, CAST(:at AS timestamptz), :z, :x, :y,"
    " known_at => coalesce(CAST(:known_at AS timestamptz), 'infinity'), since => CAST(:since AS timestamptz))"
)
_PROBE = text("SELECT 1 FROM watch.objects_now LIMIT 1")
_REVIEWS = text("SELECT * FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id")
_REVIEWS_WITHOUT_GEOMETRY = text(
    """
    SELECT review_id, track_id, target, verdict, reviewer, reason, decided_at, holds, carried_from
    FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id
    """
)
_NOW = text("SELECT now()")
_TRACKS = text(
    "SELECT n.tracks, n.following FROM watch.objects_page(:watch, CAST(:at AS timestamptz),"
    " CAST(:known AS timestamptz), CAST(:bounds AS geometry), CAST(:after AS uuid), :limit) n"
)
_AS_OF = text(
    """
    SELECT o.track_id, o.object_id, o.watch, o.target, o.area_m2, o.score, o.confidence, o.status, o.observations_for,
           o.observations_against, o.valid_from, o.valid_to, o.change, o.review, o.accuracy, o.observation_id,
           o.scene_id, o.item_hrefs, o.model, o.instruction_revision, CAST(ST_AsGeoJSON(o.geom) AS json) AS geom
    FROM watch.objects_as_of(CAST(:at AS timestamptz), CAST(:known AS timestamptz), CAST(:bounds AS geometry),
                             CAST(:tracks AS uuid[])) o
    WHERE o.watch = :watch AND (CAST(:bounds AS geometry) IS NULL OR ST_Intersects(o.geom, CAST(:bounds AS geometry)))
    ORDER BY o.track_id
    """
)


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """A page of the objects of a time."""

    rows: Rows
    """With ``geom`` as a GeoJSON geometry; may be empty before the last page."""
    known_at: datetime
    """What was recorded up to then counts: the same on every page."""
    next: str | None
    """Cursor of the next page; None = this is the last."""


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
    since: str | None = None
    """Show every scene from then until ``at``; None = only the time itself."""

    @property
    def longest_text(self) -> int:
        """Length of the longest of the texts, which a client chose."""
        return max(len(self.watch), len(self.at), len(self.known_at or ""), len(self.since or ""))


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


def list_objects_as_of(
    conn: Connection,
    watch: str,
    at: datetime,
    *,
    known_at: datetime | None = None,
    bounds: BaseGeometry | None = None,
    limit: int,
    after: str | None = None,
) -> ObjectPage:
    """List the objects of a watch that were on the ground at a time, by track id.

    Parameters
    ----------
    known_at
        Use what was recorded up to then; None = up to now, which the next pages then keep to.
    bounds
        Only objects that intersect this geometry, EPSG:4326.
    after
        Cursor that the page before returned; None = the first page.

    Raises
    ------
    segwatch.db.errors.InvalidCursor
        ``after`` is no cursor.
    """
    if after is None:
        known, last = known_at or conn.execute(_NOW).scalar_one(), UUID(int=0)
    else:
        known, last = read_cursor(after)
    place = None if bounds is None else to_ewkb(bounds)
    asked = {"watch": watch, "at": at, "known": known, "bounds": place}
    page = conn.execute(_TRACKS, asked | {"after": last, "limit": limit}).one()
    rows = fetch_rows(conn, _AS_OF, tracks=page.tracks, **asked) if page.tracks else []
    return ObjectPage(rows, known, None if page.following is None else write_cursor(known, page.following))


def check_readable(conn: Connection) -> None:
    """Read a row of the analyst views; raises what the database raises when it cannot."""
    conn.execute(_PROBE)


def list_reviews(conn: Connection, watch: str, *, geometry: bool = False) -> Rows:
    """List every review of the objects of a watch, oldest first; ``geometry`` adds the outlines as hex EWKB."""
    return fetch_rows(conn, _REVIEWS if geometry else _REVIEWS_WITHOUT_GEOMETRY, watch=watch)
