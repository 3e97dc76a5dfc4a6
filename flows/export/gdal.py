"""GeoPackage, FlatGeobuf, GeoJSON and PMTiles, by GDAL's drivers in the wheels of pyogrio."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from segwatch.flows.export.schema import CRS, GEOMETRY

if TYPE_CHECKING:
    import pyarrow as pa

#: Zoom levels of tiles: a pixel of the largest is some 10 m wide at the equator, when a tile has 4096 units.
MIN_ZOOM, MAX_ZOOM = 0, 12


@dataclass(frozen=True, slots=True)
class Driver:
    """How GDAL writes a format."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    description_option: str | None = None
    """Option that stores a text in the file; None = metadata of the layer."""
    name_option: str | None = None
    """Option that names what the file shows; None = the name of the layer does."""


#: Older GDAL, such as that of QGIS 3.22, warns of newer versions.
GEOPACKAGE = Driver("GPKG", {"SPATIAL_INDEX": "YES", "VERSION": "1.2"})
FLATGEOBUF = Driver("FlatGeobuf", {"SPATIAL_INDEX": "YES"}, "DESCRIPTION")
#: For rows without geometry, which an index cannot hold.
FLATGEOBUF_WITHOUT_INDEX = Driver("FlatGeobuf", {"SPATIAL_INDEX": "NO"}, "DESCRIPTION")
GEOJSON = Driver("GeoJSON", {"RFC7946": "YES", "WRITE_BBOX": "YES"}, "DESCRIPTION")
#: Beyond 500 kB for a tile, GDAL's own limit, it makes outlines coarser until they vanish: of 10 000 small objects in
#: one tile a third was left. This is ten times as much.
PMTILES = Driver(
    "PMTiles",
    {"MINZOOM": str(MIN_ZOOM), "MAXZOOM": str(MAX_ZOOM), "TYPE": "overlay", "MAX_SIZE": "5000000"},
    "DESCRIPTION",
    "NAME",
)


def count_by_zoom(tiles: Path, layer: str) -> dict[int, int]:
    """Count the objects that the tiles of each zoom show, by reading them back; one in two tiles counts once.

    GDAL leaves out, without a word, what is smaller than a unit of a tile and what a tile has no room for.

    Returns
    -------
    dict[int, int]
        Zoom -> number of different values of the column ``id``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyogrio.errors import DataLayerError
    from pyogrio.raw import open_arrow

    counts = {}
    for zoom in range(MIN_ZOOM, MAX_ZOOM + 1):
        try:
            with open_arrow(
                str(tiles),
                layer=layer,
                columns=["id"],
                read_geometry=False,
                use_pyarrow=True,
                ZOOM_LEVEL=str(zoom),
            ) as (_, reader):
                found = [pc.unique(batch["id"]) for batch in reader]
        except DataLayerError:
            found = []  # no tile of this zoom has the layer
        counts[zoom] = len(pc.unique(pa.chunked_array(found, pa.string())))
    return counts


def write_layer(
    reader: pa.RecordBatchReader,
    target: Path,
    driver: Driver,
    metadata: Mapping[str, str],
    *,
    layer: str,
    geometry_type: str = "MultiPolygon",
    append: bool = False,
) -> None:
    """Write a stream of record batches as a layer, EPSG:4326; the column ``geometry`` is WKB.

    Parameters
    ----------
    target
        File to write; with ``append`` the layer is added to it.
    metadata
        Name -> text, kept in the file.
    layer
        Name of the layer.
    geometry_type
        GDAL's name of the type of all geometries, or ``Unknown``.
    """
    from pyogrio.raw import write_arrow

    options = dict(driver.options)
    kept = dict(metadata)
    if driver.description_option is not None:
        options[driver.description_option] = json.dumps(kept, ensure_ascii=False)
    if driver.name_option is not None:
        options[driver.name_option] = kept.get("watch", layer)
    with warnings.catch_warnings():
        # drivers without a place for it leave out what describes a column
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="pyogrio")
        write_arrow(
            reader,
            str(target),
            layer=layer,
            driver=driver.name,
            geometry_name=GEOMETRY,
            geometry_type=geometry_type,
            crs=CRS,
            append=append,
            layer_metadata=kept if driver.description_option is None else None,
            **options,
        )
