"""Rows of queries as tables of pandas and GeoPandas.

Both libraries are imported on first use: they take most of a second, and few runs write a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import RowMapping

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd


def to_table(rows: Sequence[RowMapping], columns: Sequence[str]) -> pd.DataFrame:
    """Make a table of the named columns; missing values stay None."""
    import pandas as pd

    return pd.DataFrame(
        [[row[name] for name in columns] for row in rows], columns=list(columns), dtype=object
    )


def to_places(rows: Sequence[RowMapping], columns: Sequence[str]) -> gpd.GeoDataFrame:
    """Make a table of the named columns, with points in EPSG:4326 from the columns ``lon`` and ``lat``."""
    import geopandas as gpd

    points = gpd.points_from_xy([row["lon"] for row in rows], [row["lat"] for row in rows])
    return gpd.GeoDataFrame(to_table(rows, columns), geometry=points, crs="EPSG:4326")
