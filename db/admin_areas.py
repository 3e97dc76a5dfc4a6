"""Administrative areas: polygons with names that a user loads, such as districts, by which areas are summed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db import summaries
from segwatch.db.codec import to_ewkb
from segwatch.db.errors import NotFound
from segwatch.db.ids import make_id

#: Vertices of a part: few, so that an object is compared with little ground.
_PART_VERTICES = 128

_KNOWN = text("SELECT id FROM segwatch.admin_area WHERE layer = :layer")
_DROP_PARTS = text("DELETE FROM segwatch.admin_area_part WHERE admin_area_id = ANY(CAST(:ids AS uuid[]))")
_DROP = text("DELETE FROM segwatch.admin_area WHERE id = ANY(CAST(:ids AS uuid[]))")
_ADD = text(
    """
    INSERT INTO segwatch.admin_area (id, layer, name, geom, area_m2)
    SELECT :id, :layer, :name, g.geom, ST_Area(CAST(g.geom AS geography))
    FROM (SELECT CAST(:geom AS geometry) AS geom) g
    """
)
_ADD_PARTS = text(
    """
    INSERT INTO segwatch.admin_area_part (admin_area_id, ordinal, geom)
    SELECT id, row_number() OVER (PARTITION BY id), part
    FROM (SELECT a.id, ST_Subdivide(a.geom, :vertices) AS part FROM segwatch.admin_area a
          WHERE a.id = ANY(CAST(:ids AS uuid[]))) p
    """
)
_LAYERS = text(
    "SELECT layer, count(*) AS areas, max(loaded_at) AS loaded_at FROM segwatch.admin_area GROUP BY layer ORDER BY 1"
)


@dataclass(frozen=True, slots=True)
class AdminArea:
    """One administrative area."""

    name: str
    """Unique in its layer."""
    geometry: BaseGeometry
    """Valid Polygon or MultiPolygon, EPSG:4326, split at the antimeridian."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What :func:`replace_layer` did."""

    added: int
    removed: int
    kept: int


def replace_layer(conn: Connection, layer: str, areas: Sequence[AdminArea]) -> Replaced:
    """Make these the administrative areas of a layer, and sum the whole history of every watch by them.

    Folds wait meanwhile. The same areas again change nothing.
    """
    summaries.hold(conn)
    wanted = {make_id("admin_area", layer, one.name, one.geometry.wkb_hex): one for one in areas}
    known = set(conn.execute(_KNOWN, {"layer": layer}).scalars())
    gone, new = sorted(known - wanted.keys()), sorted(wanted.keys() - known)
    _remove(conn, gone)
    if new:
        conn.execute(
            _ADD,
            [
                {"id": one, "layer": layer, "name": wanted[one].name, "geom": to_ewkb(wanted[one].geometry)}
                for one in new
            ],
        )
        conn.execute(_ADD_PARTS, {"ids": new, "vertices": _PART_VERTICES})
    if gone or new:
        summaries.rebuild_all(conn)
    return Replaced(len(new), len(gone), len(known) - len(gone))


def remove_layer(conn: Connection, layer: str) -> int:
    """Remove a layer and its sums; returns its number of administrative areas.

    Raises
    ------
    NotFound
        There is no such layer.
    """
    summaries.hold(conn)
    known = list(conn.execute(_KNOWN, {"layer": layer}).scalars())
    if not known:
        raise NotFound(f"no layer of administrative areas named {layer!r}; see: segwatch db areas")
    _remove(conn, known)
    summaries.rebuild_all(conn)
    return len(known)


def _remove(conn: Connection, ids: Sequence[UUID]) -> None:
    conn.execute(_DROP_PARTS, {"ids": list(ids)})
    conn.execute(_DROP, {"ids": list(ids)})


def list_layers(conn: Connection) -> list[dict[str, object]]:
    """List the layers by name, with their number of areas and when they were loaded (UTC)."""
    return [dict(row) for row in conn.execute(_LAYERS).mappings()]
