"""Every format of an export, read back by its own tools: DuckDB, geopandas, GDAL and the PMTiles reader."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import duckdb
import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from jsonschema import Draft7Validator
from morecantile import tms
from pmtiles.reader import MmapSource, Reader, all_tiles
from pyproj.datadir import get_data_dir
from referencing import Registry, Resource

from segwatch.db import analyst
from segwatch.db.analyst import exports
from segwatch.flows.errors import ConfigError
from segwatch.flows.export import gdal, tables
from segwatch.flows.export.schema import CHANGES, OBJECTS
from segwatch.flows.export.tables import Request, TableFormat
from tests.invariants.conftest import Ledger, SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too
from tests.support.paths import ROOT
from tests.support.shown_views import read_view
from tests.support.vector_tiles import decoded

SMALL, LARGE, OTHER = cells(1, 1, 2, 2), cells(1, 1, 4, 4), cells(5, 5, 7, 7)


@pytest.fixture
def lakes(ledgers: Any) -> Ledger:
    """A lake that appeared and grew, and another one that appeared later."""
    made: Ledger = ledgers()
    made.arrive([SceneContent(()), SceneContent((SMALL,)), SceneContent((LARGE, OTHER))], [0, 1, 2])
    return made


def read(path: Path) -> geopandas.GeoDataFrame:
    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return geopandas.GeoDataFrame(
            rows, geometry=[shapely.from_wkt(row.pop("geometry")) for row in rows], crs=4326
        )
    return pyogrio.read_dataframe(path)


def test_every_format_holds_what_the_views_show(lakes: Ledger, tmp_path: Path) -> None:
    shown = read_view(lakes.engine, "objects_now", "lakes", "track_id")
    for form in TableFormat:
        target = tmp_path / f"lakes{form.extension}"
        done = tables.export_table(lakes.engine, Request("lakes"), form, target)
        assert (done.rows, done.path) == (2, target), form
        if form is TableFormat.PMTILES:
            continue
        found = read(target)
        assert found.crs.to_epsg() == 4326
        assert list(found.columns) == list(OBJECTS.columns), form
        assert sorted(found.id) == sorted(map(str, shown.index)), form
        for row in found.itertuples():
            view = next(one for one in shown.itertuples() if str(one.Index) == row.id)
            assert row.geometry.equals_exact(view.geom, 1e-7, normalize=True) or shapely.equals(
                row.geometry, view.geom
            )
            assert float(row.area_m2) == pytest.approx(view.area_m2)
            assert (row.target, row.watch, row.instruction) == ("water", "lakes", "segment the lakes")
            assert (row.model, row.model_version, row.accuracy) == ("tiny", "0123456789ab", "not assessed")
            assert row.last_change == view.last_change
            # GeoJSON has arrays
            links = json.loads(row.item_links) if isinstance(row.item_links, str) else list(row.item_links)
            assert links == view.item_hrefs
            assert str(row.first_seen)[:19].replace("T", " ") == str(view.first_seen)[:19]
    assert not list(tmp_path.glob(".*")), "unfinished files are left"
    _check_geoparquet(tmp_path / "lakes.parquet")
    _check_tiles(tmp_path / "lakes.pmtiles")
    kept = [
        pq.read_metadata(tmp_path / "lakes.parquet").metadata[b"next_token"].decode(),
        json.loads((tmp_path / "lakes.csv.metadata.json").read_text())["next_token"],
        pyogrio.read_info(tmp_path / "lakes.gpkg")["layer_metadata"]["next_token"],
        json.loads(json.loads((tmp_path / "lakes.geojson").read_text())["description"])["next_token"],
        json.loads(pyogrio.read_info(tmp_path / "lakes.fgb")["layer_metadata"]["DESCRIPTION"])["next_token"],
    ]
    assert len(set(kept)) == 1


def test_rows_are_read_in_parts(lakes: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is what memory holds: one of all rows would grow with the watch."""
    monkeypatch.setattr(exports, "_FETCHED", 1)
    with analyst.open_snapshot(lakes.engine) as conn:
        assert [len(part) for part in analyst.iter_objects(conn, analyst.Selection("lakes"))] == [1, 1]
        assert {len(part) for part in analyst.iter_changes(conn, analyst.Selection("lakes"))} == {1}


def _validate_geoparquet(geo: dict[str, Any]) -> None:
    """Validate metadata as GeoParquet's validate.py does: by its JSON schema, which takes the CRS from PROJ's."""
    schema = json.loads(
        (ROOT / "tests" / "data" / "schemas" / "geoparquet-v1.1.0.json").read_text(encoding="utf-8")
    )
    projjson = json.loads(Path(get_data_dir(), "projjson.schema.json").read_text(encoding="utf-8"))
    url = "https://proj.org/schemas/v0.7/projjson.schema.json"
    registry: Any = Registry().with_resource(url, Resource.from_contents(projjson))
    validator = Draft7Validator(schema, registry=registry)
    assert [one.message for one in validator.iter_errors(geo)] == []
    wrong = {
        **geo,
        "columns": {"geometry": {**geo["columns"]["geometry"], "geometry_types": ["Blob"], "crs": {}}},
    }
    assert {tuple(one.path)[-1] for one in validator.iter_errors(wrong)} == {0, "crs"}


def _check_geoparquet(path: Path) -> None:
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    _validate_geoparquet(geo)
    (column,) = geo["columns"].values()
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["MultiPolygon"])
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 4326}
    assert set(column["covering"]["bbox"]) == {"xmin", "ymin", "xmax", "ymax"}
    assert column["bbox"] == pytest.approx(list(shapely.union_all([LARGE, OTHER]).bounds))
    query: Any = duckdb.sql(
        f"SELECT id, geometry, bbox.xmin, bbox.ymax, area_m2, first_seen FROM read_parquet('{path}')"
        f" WHERE bbox.xmin < {SMALL.bounds[2]} AND bbox.ymin < {SMALL.bounds[3]}"
    )
    rows = query.fetchall()
    ((_, wkb, west, north, _, seen),) = rows
    # DuckDB with its spatial extension returns a geometry, without it the bytes
    shape = (
        shapely.from_wkb(bytes(wkb))
        if isinstance(wkb, bytes | bytearray | memoryview)
        else shapely.from_wkt(str(wkb))
    )
    assert shapely.equals(shape, LARGE)
    assert (west, north) == pytest.approx((LARGE.bounds[0], LARGE.bounds[3]))
    assert seen == day(1)


def _check_tiles(path: Path) -> None:
    with path.open("rb") as file:
        source: Any = MmapSource
        make: Any = Reader
        reader = make(source(file))
        header = reader.header()
        assert (header["version"], header["min_zoom"], header["max_zoom"]) == (3, 0, 12)
        assert reader.metadata()["vector_layers"][0]["id"] == "objects"
        assert reader.metadata()["name"] == "lakes"
        middle = LARGE.representative_point()
        place = tms.get("WebMercatorQuad").tile(middle.x, middle.y, 12)
        content = reader.get(place.z, place.x, place.y)
        assert {one.properties["target"] for one in decoded(gzip.decompress(content))["objects"]} == {"water"}


def test_tiles_say_how_many_objects_they_show(ledgers: Any, tmp_path: Path) -> None:
    """Counted again here with another reader: every tile, decoded."""
    ponds = tuple(cells(x, y, x + 0.03, y + 0.03) for x in range(1, 6) for y in range(1, 6))
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent(()), SceneContent((*ponds, cells(6, 6, 7, 7)))], [0, 1])
    target = tmp_path / "lakes.pmtiles"
    done = tables.export_table(ledger.engine, Request("lakes"), TableFormat.PMTILES, target)
    found: dict[int, set[str]] = {zoom: set() for zoom in range(13)}
    with target.open("rb") as file:
        source: Any = MmapSource
        tiles: Any = all_tiles
        for (zoom, _, _), content in tiles(source(file)):
            layers = decoded(gzip.decompress(content))
            found[zoom] |= {one.properties["id"] for one in layers.get("objects", [])}
    assert done.shown_by_zoom == {zoom: len(ids) for zoom, ids in found.items()}
    beside = json.loads((tmp_path / "lakes.pmtiles.metadata.json").read_text())
    assert json.loads(beside["shown_by_zoom"]) == {str(zoom): len(ids) for zoom, ids in found.items()}
    assert (done.rows, beside["rows"]) == (len(ponds) + 1, str(len(ponds) + 1))
    assert done.shown_by_zoom[12] == len(ponds) + 1 > done.shown_by_zoom[5]


def test_many_objects_in_one_tile_are_all_drawn(tmp_path: Path) -> None:
    """GDAL makes outlines coarser in tiles beyond its limit, until they vanish."""
    schema = pa.schema([("id", pa.string()), ("note", pa.string()), ("geometry", pa.binary())])
    places = [(15 + column * 0.0005, 46 + row * 0.0005) for column in range(70) for row in range(70)]
    rows = [
        # texts that do not compress, as the ids and numbers of objects
        (str(uuid4()), "".join(uuid4().hex for _ in range(8)), shapely.box(x, y, x + 5e-5, y + 5e-5).wkb)
        for x, y in places
    ]
    table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema)
    target = tmp_path / "many.pmtiles"
    gdal.write_layer(table.to_reader(), target, gdal.PMTILES, {}, layer="objects", geometry_type="Polygon")
    assert gdal.count_by_zoom(target, "objects")[12] == len(rows)


def test_the_past_a_box_and_changes(lakes: Ledger, tmp_path: Path) -> None:
    def export(**asked: Any) -> geopandas.GeoDataFrame:
        target = tmp_path / "part.parquet"
        tables.export_table(
            lakes.engine, Request("lakes", **asked), TableFormat.GEOPARQUET, target, force=True
        )
        return geopandas.read_parquet(target)

    past = export(at=day(1))
    assert [shapely.equals(one, SMALL) for one in past.geometry] == [True]
    assert list(past.last_change) == ["appeared"]
    assert past.valid_end.iloc[0] == day(2)
    assert export(known_at=day(1)).empty
    assert list(export(bounds=OTHER.bounds).geometry.map(lambda one: shapely.equals(one, OTHER))) == [True]
    assert export(bounds=(170.0, 50.0, 9.0, 51.0)).empty, (
        "the box crosses the antimeridian and ends before the lakes"
    )
    changes = export(changes=True)
    assert list(changes.columns)[:-1] == list(CHANGES.columns)[:-1]
    assert sorted(changes.change) == ["appeared", "appeared", "grew"]
    assert sorted(export(changes=True, at=day(1)).change) == ["appeared"]
    assert set(pq.read_schema(tmp_path / "part.parquet").names) == {*CHANGES.columns, "bbox"}


def test_a_file_appears_whole_or_not_at_all(
    lakes: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lakes.gpkg"
    tables.export_table(lakes.engine, Request("lakes"), TableFormat.GPKG, target)
    before = target.read_bytes()
    with pytest.raises(ConfigError, match="--force"):
        tables.export_table(lakes.engine, Request("lakes"), TableFormat.GPKG, target)

    def break_off(*_: object) -> Any:
        yield [_row()]
        raise OSError("the database went away")

    monkeypatch.setattr(tables, "read_parts", lambda *_: (break_off(), None))
    for form in TableFormat:
        place = target if form is TableFormat.GPKG else tmp_path / f"new{form.extension}"
        with pytest.raises(Exception, match="the database went away"):
            tables.export_table(lakes.engine, Request("lakes"), form, place, force=True)
    assert target.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["lakes.gpkg"]


def _row() -> tuple[object, ...]:
    values: Mapping[str, object] = {
        "id": "x",
        "geometry": shapely.MultiPolygon([cast(shapely.Polygon, SMALL)]).wkb,
    }
    return tuple(values.get(name) for name in OBJECTS.columns)


def test_requests_that_contradict_themselves_are_refused(lakes: Ledger, tmp_path: Path) -> None:
    def refuse(words: str, form: TableFormat = TableFormat.CSV, **asked: Any) -> None:
        with pytest.raises(ConfigError, match=words):
            tables.export_table(lakes.engine, Request("lakes", **asked), form, tmp_path / "none")

    refuse("later", at=day(2), known_at=day(1))
    refuse("leave out --at", since="sw1.x", at=day(1))
    refuse("no token", since="sw1.x")
    refuse("no token", since="hello")
    refuse("tiles", TableFormat.PMTILES, since="sw1.x")
    assert not list(tmp_path.iterdir())
