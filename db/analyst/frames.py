"""The analyst views as GeoDataFrames, for Python users: geometries in EPSG:4326, areas in geodesic m², times in UTC.

    from segwatch.db.analyst import frames
    from segwatch.db.engine import make_engine

    lakes = frames.read_objects(make_engine("postgresql://..."), "lakes")

The rights of the analyst role are enough.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import geopandas
from sqlalchemy import Engine, text

_OBJECTS = text("SELECT * FROM watch.objects_now WHERE watch = :watch ORDER BY track_id")
_OBJECTS_AS_OF = text(
    """
    SELECT * FROM watch.objects_as_of(:valid_at, coalesce(CAST(:known_at AS timestamptz), 'infinity'))
    WHERE watch = :watch ORDER BY track_id
    """
)
_HISTORY = text(
    "SELECT * FROM watch.object_history WHERE watch = :watch ORDER BY track_id, valid_from, recorded_from"
)
_CHANGES = text("SELECT * FROM watch.changes WHERE watch = :watch ORDER BY valid_at, change_id")
_ALERTS = text("SELECT * FROM watch.alerts WHERE watch = :watch ORDER BY created_at, alert_id")
_COVERAGE = text(
    "SELECT * FROM watch.coverage WHERE watch = :watch ORDER BY acquired_at NULLS LAST, observation_id"
)


def read_objects(
    engine: Engine, watch: str, valid_at: datetime | None = None, known_at: datetime | None = None
) -> geopandas.GeoDataFrame:
    """Read the objects of a watch: those of now, or those of a time.

    Parameters
    ----------
    valid_at
        When the objects were there; None = now.
    known_at
        Use what was recorded up to then; None = everything recorded so far. Needs ``valid_at``.
    """
    if valid_at is None:
        if known_at is not None:
            raise ValueError("known_at needs valid_at: give the time at which the objects were there")
        return _read(engine, _OBJECTS, watch=watch)
    return _read(engine, _OBJECTS_AS_OF, watch=watch, valid_at=valid_at, known_at=known_at)


def read_object_history(engine: Engine, watch: str) -> geopandas.GeoDataFrame:
    """Read every recorded state of the objects of a watch, with valid and recorded time."""
    return _read(engine, _HISTORY, watch=watch)


def read_changes(engine: Engine, watch: str) -> geopandas.GeoDataFrame:
    """Read the changes of a watch, also baseline and retracted ones."""
    return _read(engine, _CHANGES, watch=watch)


def read_alerts(engine: Engine, watch: str) -> geopandas.GeoDataFrame:
    """Read the alerts of a watch with their status and deliveries."""
    return _read(engine, _ALERTS, watch=watch)


def read_coverage(engine: Engine, watch: str) -> geopandas.GeoDataFrame:
    """Read the observations and rejected items of a watch; the geometry is the observed footprint, if any."""
    return _read(engine, _COVERAGE, watch=watch)


def _read(engine: Engine, query: Any, **values: object) -> geopandas.GeoDataFrame:
    with engine.connect() as conn:
        return geopandas.read_postgis(query, conn, geom_col="geom", crs=4326, params=values)
