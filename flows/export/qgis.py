"""A folder for QGIS: a GeoPackage with the layers of a watch, and a project that opens it styled.

The project is written in the XML of QGIS 3.22, which newer versions read: layers, styles by change and confidence,
temporal settings from the columns of valid time, and relations from objects to their history and observations. Layers
are found by relative paths, so that the folder can be moved. With the address of a segwatch server, the project also
has its imagery, as XYZ tiles of the latest scene, and its live objects and changes over OGC API.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import pyproj
from sqlalchemy import Connection, Engine

from segwatch.db import analyst
from segwatch.flows.errors import ConfigError
from segwatch.flows.export import gdal, qgis_symbols
from segwatch.flows.export.batches import Rows, WatchedRows, make_reader
from segwatch.flows.export.places import MARKER, check_target, write_whole
from segwatch.flows.export.qgis_symbols import add_element
from segwatch.flows.export.schema import CHANGES, HISTORY, OBJECTS, OBSERVATIONS, Layer, make_schema
from segwatch.flows.export.tables import Exported, Request, check_request, describe

PROJECT_VERSION = "3.22.16-Białowieża"
#: From top to bottom, with the title of each.
_LAYERS = (
    (CHANGES, "Changes"),
    (OBJECTS, "Objects"),
    (HISTORY, "Objects over time"),
    (OBSERVATIONS, "Observations"),
)
#: Layers that are shown at first.
_SHOWN = {CHANGES.name, OBJECTS.name}
#: Name of a relation -> referencing layer and column, referenced layer and column.
_RELATIONS = {
    "object-history": ("history", "track_id", "objects", "id"),
    "object-changes": ("changes", "track_id", "objects", "id"),
    "observation-objects": ("objects", "observation_id", "observations", "id"),
    "observation-history": ("history", "observation_id", "observations", "id"),
}
#: Numbers of the two reference systems in the database of QGIS.
_SRSIDS = {"EPSG:4326": "3452", "EPSG:3857": "3857"}
_MOMENT, _SPAN = 1, 2  # temporal modes of vector layers


def export_project(
    engine: Engine, request: Request, target: Path, *, force: bool = False, server: str | None = None
) -> Exported:
    """Export a project with its GeoPackage; the folder appears whole or not at all.

    Parameters
    ----------
    server
        Address of ``segwatch serve``, for imagery and live layers; None = the project needs no server.

    Raises
    ------
    ConfigError
        The request asks for a delta feed or for what was known earlier, or the target cannot be written.
    segwatch.db.errors.NotFound
        No watch has this name.
    """
    check_request(request)
    if request.since is not None or request.changes or request.known_at is not None:
        raise ConfigError(
            "a project holds objects, changes and their history as known now; leave out --changes, --since and "
            "--known-at, or choose another format"
        )
    if server is not None and not server.startswith(("http://", "https://")):
        raise ConfigError(f"--server: write an address such as http://127.0.0.1:8080 (got {server!r})")
    check_target(target, force=force)
    with analyst.open_snapshot(engine) as conn, write_whole(target) as folder:
        analyst.read_position(conn, request.watch)  # refuses an unknown watch
        folder.mkdir()
        package = folder / "segwatch.gpkg"
        rows = _write_package(conn, request, package)
        scenes = [row["scene_id"] for row in analyst.list_observations(conn, request.selection)]
        root = make_project(request.watch, _measure(package), server, str(scenes[-1]) if scenes else None)
        tree = ElementTree(root)
        indent(tree, " ")
        with (folder / "segwatch.qgs").open("wb") as file:
            file.write(b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n")
            tree.write(file, encoding="utf-8")
        (folder / MARKER).write_text(json.dumps(describe(request, None), indent=2) + "\n", encoding="utf-8")
    return Exported(target, rows, None)


def _write_package(conn: Connection, request: Request, package: Path) -> int:
    """Write the layers; returns the number of objects."""
    selection = request.selection
    sources: dict[str, Iterable[Rows]] = {
        OBJECTS.name: analyst.iter_objects(conn, selection),
        CHANGES.name: analyst.iter_changes(conn, selection),
        HISTORY.name: analyst.iter_history(conn, selection),
        OBSERVATIONS.name: analyst.iter_observations(conn, selection),
    }
    counts = {}
    for number, (layer, _) in enumerate(_LAYERS):
        rows = WatchedRows(sources[layer.name])
        with rows.keep_error():
            gdal.write_layer(
                make_reader(make_schema(layer), rows),
                package,
                gdal.GEOPACKAGE,
                {"software": "segwatch", "watch": request.watch, "meaning": layer.meaning},
                layer=layer.name,
                append=number > 0,
            )
        counts[layer.name] = rows.count
    return counts[OBJECTS.name]


def _measure(package: Path) -> tuple[float, float, float, float]:
    """Return the bounds of the layers, degrees; those of the world if they are empty."""
    import pyogrio

    found = [pyogrio.read_info(package, layer=layer.name, force_total_bounds=True) for layer, _ in _LAYERS]
    boxes = [one["total_bounds"] for one in found if one["features"] and one["total_bounds"] is not None]
    if not boxes:
        return -180.0, -90.0, 180.0, 90.0
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


def make_project(
    watch: str, bounds: tuple[float, float, float, float], server: str | None, scene: str | None
) -> Element:
    """Make the project's document.

    Parameters
    ----------
    bounds
        West, south, east, north of the first view, degrees.
    server
        Address of a segwatch server, or None.
    scene
        Id of the scene that is shown as imagery, or None.
    """
    root = Element("qgis", {"projectname": watch, "version": PROJECT_VERSION})
    add_element(root, "title", f"segwatch: {watch}")
    _add_crs(SubElement(root, "projectCrs"))
    tree = SubElement(root, "layer-tree-group")
    layers = SubElement(root, "projectlayers")
    order = SubElement(root, "layerorder")
    for layer, title in _LAYERS:
        _add_to_tree(
            tree,
            _name(layer.name),
            title,
            f"./segwatch.gpkg|layername={layer.name}",
            "ogr",
            layer.name in _SHOWN,
        )
        SubElement(order, "layer", {"id": _name(layer.name)})
        _add_vector(layers, layer, title)
    if server is not None:
        _add_server(tree, layers, order, server.rstrip("/"), watch, scene)
    _add_relations(SubElement(root, "relations"))
    _add_canvas(root, bounds)
    properties = SubElement(root, "properties")
    # without this, QGIS ignores the project's reference system
    systems = SubElement(properties, "SpatialRefSys")
    SubElement(systems, "ProjectionsEnabled", {"type": "int"}).text = "1"
    SubElement(SubElement(properties, "Paths"), "Absolute", {"type": "bool"}).text = "false"
    return root


def _add_server(
    tree: Element, layers: Element, order: Element, server: str, watch: str, scene: str | None
) -> None:
    for view, layer, title in (
        ("changes", CHANGES, "Changes, live"),
        ("objects_now", OBJECTS, "Objects, live"),
    ):
        name = _name(f"live-{layer.name}")
        source = (
            f" pageSize='1000' restrictToRequestBBOX='1' srsname='OGC:CRS84' typename='watch.{view}' "
            f"url='{server}/ogc' version='OGC_API_FEATURES' "
        )
        _add_to_tree(tree, name, title, source, "OAPIF", False)
        SubElement(order, "layer", {"id": name})
        made = _add_layer(layers, "vector", name, title, source, "OAPIF")
        made.set("geometry", "Polygon")
        column = "kind" if layer is CHANGES else "last_change"
        qgis_symbols.add_change_renderer(made, column)
    if scene is not None:
        # the template is itself a parameter of the source, so its separators are escaped
        address = (
            f"{server}/imagery/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}.png?watch={quote(watch)}&scene={scene}"
        )
        source = f"type=xyz&zmin=0&zmax=18&url={quote(address, safe=':/{}')}"
        _add_to_tree(tree, _name("imagery"), "Latest scene", source, "wms", True)
        SubElement(order, "layer", {"id": _name("imagery")})
        made = _add_layer(layers, "raster", _name("imagery"), "Latest scene", source, "wms")
        pipe = SubElement(made, "pipe")
        SubElement(
            pipe,
            "rasterrenderer",
            {"type": "singlebandcolordata", "opacity": "1", "band": "1", "alphaBand": "-1"},
        )


def _add_to_tree(tree: Element, name: str, title: str, source: str, provider: str, shown: bool) -> None:
    SubElement(
        tree,
        "layer-tree-layer",
        {
            "id": name, "name": title, "source": source, "providerKey": provider, "expanded": "1",
            "checked": "Qt::Checked" if shown else "Qt::Unchecked",
        },
    )  # fmt: skip


def _add_vector(layers: Element, layer: Layer, title: str) -> None:
    made = _add_layer(
        layers, "vector", _name(layer.name), title, f"./segwatch.gpkg|layername={layer.name}", "ogr"
    )
    made.set("geometry", "Polygon")
    made.set("wkbType", "MultiPolygon")
    SubElement(
        made,
        "temporal",
        {
            "enabled": "1", "mode": str(_MOMENT if layer.end is None else _SPAN), "startField": layer.begin,
            "endField": layer.end or "", "startExpression": "", "endExpression": "", "durationField": "",
            "durationUnit": "min", "fixedDuration": "0", "accumulate": "0", "limitMode": "0",
        },
    )  # fmt: skip
    if layer is OBSERVATIONS:
        qgis_symbols.add_footprint_renderer(made)
    else:
        qgis_symbols.add_change_renderer(made, "last_change" if layer is OBJECTS else "change")
    add_element(made, "previewExpression", '"acquired_at"' if layer is OBSERVATIONS else '"id"')


def _add_layer(layers: Element, kind: str, name: str, title: str, source: str, provider: str) -> Element:
    made = SubElement(layers, "maplayer", {"type": kind, "autoRefreshEnabled": "0", "autoRefreshTime": "0"})
    add_element(made, "id", name)
    add_element(made, "datasource", source)
    add_element(made, "layername", title)
    _add_crs(SubElement(made, "srs"), "EPSG:3857" if provider == "wms" else "EPSG:4326")
    SubElement(made, "provider", {"encoding": "UTF-8"}).text = provider
    return made


def _add_relations(relations: Element) -> None:
    for name, (referencing, column, referenced, key) in _RELATIONS.items():
        made = SubElement(
            relations,
            "relation",
            {
                "id": name, "name": name, "strength": "Association", "referencingLayer": _name(referencing),
                "referencedLayer": _name(referenced), "layerId": _name(referenced), "layerName": referenced,
                "dataSource": f"./segwatch.gpkg|layername={referenced}", "providerKey": "ogr",
            },
        )  # fmt: skip
        SubElement(made, "fieldRef", {"referencingField": column, "referencedField": key})


def _add_canvas(root: Element, bounds: tuple[float, float, float, float]) -> None:
    west, south, east, north = bounds
    margin = 0.05 * max(east - west, north - south)
    canvas = SubElement(root, "mapcanvas", {"name": "theMapCanvas", "annotationsVisible": "1"})
    add_element(canvas, "units", "degrees")
    extent = SubElement(canvas, "extent")
    for name, value in (
        ("xmin", west - margin), ("ymin", south - margin), ("xmax", east + margin), ("ymax", north + margin),
    ):  # fmt: skip
        add_element(extent, name, repr(float(value)))
    add_element(canvas, "rotation", "0")
    _add_crs(SubElement(canvas, "destinationsrs"))


def _name(layer: str) -> str:
    """Return the id of a layer in the project; QGIS replaces ids of less than ten characters."""
    return f"segwatch-{layer}"


def _add_crs(parent: Element, name: str = "EPSG:4326") -> None:
    """Name a coordinate reference system as QGIS does: by its own number, WKT and authority."""
    system = SubElement(parent, "spatialrefsys", {"nativeFormat": "Wkt"})
    add_element(system, "wkt", pyproj.CRS.from_user_input(name).to_wkt())
    add_element(system, "srsid", _SRSIDS[name])
    add_element(system, "srid", name.partition(":")[2])
    add_element(system, "authid", name)
