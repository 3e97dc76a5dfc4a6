"""What changed between two times: totals, ground that was not seen, and vector tiles."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, text

from segwatch.db.analyst.objects import TilePlace
from segwatch.db.analyst.rows import Rows, fetch_rows

Box = tuple[float, float, float, float]
_BOX = (
    "CASE WHEN CAST(:west AS float8) IS NOT NULL THEN ST_MakeEnvelope(:west, :south, :east, :north, 4326) END"
)
_TOTALS = text(
    f"SELECT * FROM watch.compare(:watch, CAST(:since AS timestamptz), CAST(:until AS timestamptz), {_BOX})"  # noqa: S608
)
_GROUND = text(
    f"SELECT * FROM watch.compare_ground(:watch, CAST(:since AS timestamptz), CAST(:until AS timestamptz), {_BOX})"  # noqa: S608
)
_TILE = text(
    "SELECT watch.data_version(:watch), watch.compare_tile(:watch, CAST(:since AS timestamptz),"
    " CAST(:until AS timestamptz), :z, :x, :y)"
)


@dataclass(frozen=True, slots=True)
class TileSpan:
    """The two times that a tile compares, of one watch. Times are texts as PostgreSQL reads them."""

    watch: str
    since: str
    until: str

    @property
    def longest_text(self) -> int:
        """Length of the longest of the texts, which a client chose."""
        return max(len(self.watch), len(self.since), len(self.until))


def compare_totals(conn: Connection, span: TileSpan, box: Box | None = None) -> Rows:
    """Sum what became of the objects of a watch between two times; see the database function ``watch.compare``.

    Parameters
    ----------
    box
        West, south, east and north in degrees (EPSG:4326); None = the whole watch.
    """
    return fetch_rows(conn, _TOTALS, **asdict(span), **_name_sides(box))


def measure_unseen(conn: Connection, span: TileSpan, box: Box | None = None) -> dict[str, Any] | None:
    """Measure the ground that the scenes of both times did not observe; None if the reader sees no such watch.

    Returns
    -------
    dict
        ``area_m2``, ``not_seen_from_m2`` and ``not_seen_to_m2``, see ``watch.compare_ground``.
    """
    rows = fetch_rows(conn, _GROUND, **asdict(span), **_name_sides(box))
    return rows[0] if rows else None


def read_change_tile(conn: Connection, span: TileSpan, place: TilePlace) -> tuple[str, bytes]:
    """Make the vector tile (MVT) of what changed between two times; see ``watch.compare_tile``.

    Returns
    -------
    tuple[str, bytes]
        The version that the tile was made from, as :func:`segwatch.db.analyst.read_version` names it, and the tile.
    """
    version, tile = conn.execute(_TILE, asdict(span) | asdict(place)).one()
    return str(version), bytes(tile)


def _name_sides(box: Box | None) -> dict[str, float | None]:
    return dict(zip(("west", "south", "east", "north"), box or (None,) * 4, strict=True))
