"""Queueing: one pending observation for each scene of a series."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import tables
from segwatch.db.codec import load_watch
from segwatch.db.errors import NotFound
from segwatch.db.ids import make_id
from segwatch.geo.types import ObservationState


def enqueue(conn: Connection, watch_revision_id: UUID, model_version: str, scene_ids: Sequence[UUID]) -> int:
    """Queue one observation a scene, in the series of this watch, instruction and model; new ones only.

    Returns
    -------
    int
        Number of observations that were not there before.

    Raises
    ------
    NotFound
        No such watch revision.
    """
    watch = (
        conn.execute(select(tables.watch).where(tables.watch.c.id == watch_revision_id)).mappings().first()
    )
    if watch is None:
        raise NotFound(f"no watch revision {watch_revision_id} in the ledger")
    series_id = make_id("series", watch["name"], watch["instruction_id"], model_version)
    lon, lat = centre(load_watch(watch["definition"]).area)
    series = {
        "id": series_id,
        "watch_name": watch["name"],
        "instruction_id": watch["instruction_id"],
        "model_version": model_version,
        "origin_lon": lon,
        "origin_lat": lat,
    }
    conn.execute(insert(tables.series).values(series).on_conflict_do_nothing())
    # in one order, so that two concurrent calls cannot deadlock
    rows = [
        {
            "id": make_id("observation", series_id, scene.id),
            "series_id": series_id,
            "scene_id": scene.id,
            "watch_id": watch_revision_id,
            "model_version": model_version,
            "state": ObservationState.PENDING.value,
            "priority": watch["priority"],
            "acquired_at": scene.acquired_at,
        }
        for scene in conn.execute(
            select(tables.scene.c.id, tables.scene.c.acquired_at)
            .where(tables.scene.c.id == func.any(list(set(scene_ids))))
            .order_by(tables.scene.c.id)
        )
    ]
    if not rows:
        return 0
    added = (
        insert(tables.observation).values(rows).on_conflict_do_nothing().returning(tables.observation.c.id)
    )
    return len(conn.execute(added).all())


def centre(area: BaseGeometry) -> tuple[float, float]:
    """Longitude and latitude of the middle of an area's bounds, also where 180 degrees splits it."""
    west, south, east, north = area.bounds
    if east - west > 180 and hasattr(area, "geoms"):
        # parts on both sides of the antimeridian: measure from 0 to 360 degrees
        edges = [bound + 360 if bound < 0 else bound for part in area.geoms for bound in _west_east(part)]
        west, east = min(edges), max(edges)
    lon = (west + east) / 2
    return (lon - 360 if lon > 180 else lon), (south + north) / 2


def _west_east(part: BaseGeometry) -> tuple[float, float]:
    west, _, east, _ = part.bounds
    # -180 and 180 are one line; each part must keep to its own side of it
    return (west, 180.0) if east in {180.0, -180.0} and west > 0 else (west, east)
