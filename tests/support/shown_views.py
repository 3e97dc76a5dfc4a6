"""Rows of the analysts' views as they are in SQL, to compare with what other ways out give."""

from __future__ import annotations

import geopandas
from sqlalchemy import Engine, text


def read_view(engine: Engine, view: str, watch: str, key: str) -> geopandas.GeoDataFrame:
    """Read the rows of a watch in a view with a geometry, by their key."""
    query = text(f"SELECT * FROM watch.{view} WHERE watch = :watch ORDER BY {key}")
    with engine.connect() as conn:
        return geopandas.read_postgis(
            query, conn, geom_col="geom", crs=4326, params={"watch": watch}
        ).set_index(key)
