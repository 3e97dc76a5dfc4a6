"""Registered local files: what is inferred and written, what may be read, and what is never read."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pystac.validation.local_validator import LocalValidator
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import compute_area_m2
from segwatch.geo.crs import LONLAT, get_transformer
from segwatch.geo.errors import BadItem, SourceInUse, UnfitPixels, UnknownSource, UnsafeHref, UnusableFile
from segwatch.geo.items import parse_item
from segwatch.geo.local_addresses import Root, make_grant
from segwatch.geo.rendering import render
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.local import registry
from segwatch.geo.sources.local.adding import AddingOptions, AddReport, add
from segwatch.geo.sources.rasters.pixels import read_scene
from segwatch.geo.sources.search.catalog import open_catalog
from segwatch.geo.sources.search.item_search import search
from segwatch.geo.types.scene import Item
from tests.integration.sources.test_costly_files import HOSTILE
from tests.support import local_pictures as pictures
from tests.support.made_scenes import WATER

SHAPE = (48, 64)
#: A lake in the north-west: it tells every orientation from the others.
PICTURE = pictures.paint(SHAPE, (12, 14, 8))
GRID = GeoBox(SHAPE, pictures.north_up(SHAPE[0]), pictures.CRS)
EVER = datetime(1900, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
WORLD = box(-180, -90, 180, 90)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder without sources."""
    registry.use_home(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for pictures."""
    made = tmp_path / "photos"
    made.mkdir()
    return made


def items_of(name: str) -> dict[str, Item]:
    profile = profiles.load(str(registry.find(name).profile_path))
    found = search(open_catalog(registry.find(name).url), profile, WORLD, *EVER)
    return {one.id: one for one in found if isinstance(one, Item)}


def render_item(name: str, item: Item) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Colours (h, w, 3) and validity of an item on the grid, as workers read it."""
    source = registry.find(name)
    profile = profiles.load(str(source.profile_path))
    [scene] = group_scenes([item])
    hosts = hrefs.list_readable_hosts(profile, source.url)
    window = read_scene(scene, profile, GRID, allowed_hosts=hosts)
    return render(window.bands, window.valid, profile).values, window.valid.values


def states(report: AddReport) -> dict[str, str]:
    return {one.item_id: one.state for one in report.files}


@pytest.fixture(scope="module")
def _added(tmp_path_factory: pytest.TempPathFactory) -> AddReport:
    folder = tmp_path_factory.mktemp("mixed") / "photos"
    folder.mkdir()
    registry.use_home(folder.parent / "home")
    pictures.write_plain(folder / "2024-05-01.tif", PICTURE)
    pictures.write_plain(folder / "2024-05-02.tif", PICTURE)
    pictures.write_south_up(folder / "2024-05-03.tif", PICTURE)
    pictures.write_turned(folder / "2024-05-04.tif", PICTURE)
    pictures.write_control_points(folder / "2024-05-05.tif", PICTURE)
    pictures.write_palette(folder / "2024-05-06.tif", PICTURE)
    pictures.write_alpha(folder / "2024-05-07.tif", PICTURE, hidden=12)
    pictures.write_16_bit(folder / "20240508_100000_1234_3B_AnalyticMS.tif", PICTURE)
    random = np.random.default_rng(1).integers(0, 255, (1, *SHAPE), np.uint8)
    pictures.write(
        folder / "LC08_L1TP_191028_20240501_20240502_02_T1_B4.TIF", random, pictures.north_up(SHAPE[0])
    )
    pictures.write_plain(folder / "undated.tif", PICTURE)
    pictures.write(folder / "2024-05-09.tif", PICTURE * 0 + 7, pictures.north_up(SHAPE[0]))
    pictures.write(folder / "2024-05-10.tif", PICTURE, Affine.identity(), "")
    pictures.write(folder / "2024-05-11.tif", PICTURE, pictures.north_up(SHAPE[0]) @ Affine.scale(50))
    whole = (folder / "2024-05-01.tif").read_bytes()
    (folder / "2024-05-12.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "2024-05-13.tif").write_text("no picture")
    for number, make in enumerate(HOSTILE.values()):
        (folder / f"hostile-{number}-2024-05-14.tif").write_bytes(make())
    return add("photos", [folder], AddingOptions())


@pytest.fixture
def mixed(_added: AddReport) -> AddReport:
    """A folder of many kinds, some unusable."""
    registry.use_home(_added.source.folder.parents[1])
    return _added


def test_every_kind_is_rendered_north_up_in_its_colours_and_the_unusable_are_named(mixed: AddReport) -> None:
    reasons = dict(mixed.refused)
    assert len(reasons) == 7 + len(HOSTILE)
    assert "one band" in reasons["photos/LC08_L1TP_191028_20240501_20240502_02_T1_B4.TIF"]
    for key, part in {
        "undated": "give --date", "2024-05-09": "one value", "2024-05-10": "no georeference",
        "2024-05-11": "add it as a source of its own", "2024-05-12": "damaged", "2024-05-13": "neither GeoTIFF",
    }.items():  # fmt: skip
        assert part in reasons[f"photos/{key}.tif"]
    converted = {one.item_id: one.converted for one in mixed.files if one.converted}
    assert converted.keys() == {"2024-05-05", "2024-05-06", "20240508_100000_1234_3B_AnalyticMS"}
    found = items_of("photos")
    assert len(found) == 8
    lake = PICTURE[2] == WATER[2]
    for name, item in found.items():
        rgb, valid = render_item("photos", item)
        assert valid.all() or name == "2024-05-07"
        # the lake is blue, and where it is: what is turned or mirrored would not be
        is_blue = (rgb[..., 2] > rgb[..., 1]) & valid
        assert (is_blue == (lake & valid)).all(), name
        if "AnalyticMS" not in name:
            # GDAL warps the turned one to an eighth of a pixel
            off = np.abs(rgb[lake & valid].astype(int) - WATER)
            assert off.max() <= (13 if name == "2024-05-04" else 0), name
    _, valid = render_item("photos", found["2024-05-07"])
    assert not valid[:, :12].any()
    assert valid[:, 12:].all()
    profile = mixed.profile
    assert (profile.gsd_m, profile.low, profile.high, profile.red.index) == (10.0, 0.0, 255.0, 1)
    assert found["20240508_100000_1234_3B_AnalyticMS"].acquired_at == datetime(2024, 5, 8, 10, tzinfo=UTC)


def test_the_catalog_is_valid_stac_with_footprints_on_the_ground(mixed: AddReport) -> None:
    source = mixed.source
    validator = LocalValidator()
    collection = json.loads((source.folder / "collection.json").read_text())
    assert list(validator.collection_validator().iter_errors(collection)) == []
    ground = _lonlat_ground()
    for link in collection["links"]:
        if link["rel"] != "item":
            continue
        item = json.loads((source.folder / link["href"]).read_text())
        assert list(validator.item_validator().iter_errors(item)) == []
        footprint = shape(item["geometry"])
        shared = compute_area_m2(footprint.intersection(ground))
        assert shared > 0.999 * compute_area_m2(footprint.union(ground)), item["id"]
        # other programs read the same files by the same document
        assert Path(item["assets"]["image"]["href"].removeprefix("file://")).is_file()
    assert mixed.preview is not None
    assert mixed.preview.read_bytes().startswith(b"\x89PNG")


def _lonlat_ground() -> BaseGeometry:
    left, bottom = 500_000.0, 5_100_000.0
    right, top = left + pictures.GSD_M * SHAPE[1], bottom + pictures.GSD_M * SHAPE[0]
    outline = box(left, bottom, right, top).segmentize(100)
    move = get_transformer(CRS.from_string(pictures.CRS), LONLAT)
    moved: BaseGeometry = shapely.transform(
        outline, lambda at: np.column_stack(move.transform(at[:, 0], at[:, 1]))
    )
    return moved


def test_adding_again_finds_what_is_new_and_what_changed(home: Path, folder: Path) -> None:
    pictures.write_plain(folder / "2024-05-01.tif", PICTURE)
    pictures.write_palette(folder / "2024-05-02.tif", PICTURE)
    add("photos", [folder], AddingOptions())
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert set(states(add("photos", [folder], AddingOptions())).values()) == {"unchanged"}
    # one that lies in the folder is the same file
    assert set(states(add("photos", [folder / "2024-05-01.tif"], AddingOptions())).values()) == {"unchanged"}
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    first = items_of("photos")

    sub = folder / "later"
    sub.mkdir()
    pictures.write_plain(sub / "2024-05-01.tif", PICTURE)
    pictures.write_palette(folder / "2024-05-02.tif", pictures.paint(SHAPE, (12, 14, 11)))
    os.utime(folder / "2024-05-02.tif", (1, 1))  # a restored copy is older than what it replaces
    (folder / "2024-05-01.tif").rename(folder / ".hidden.tif")
    after = states(add("photos", [folder], AddingOptions()))
    second = items_of("photos")
    new = (second.keys() - first.keys()).pop()
    assert after == {"2024-05-01": "missing", "2024-05-02": "changed", new: "new"}
    assert new.startswith("2024-05-01-")
    changed, previous = second["2024-05-02"], first["2024-05-02"]
    assert changed.updated_at is not None
    assert previous.updated_at is not None
    assert changed.updated_at > previous.updated_at
    rgb, _ = render_item("photos", changed)
    assert ((rgb == WATER).all(axis=-1) == (pictures.paint(SHAPE, (12, 14, 11))[2] == WATER[2])).all()
    # what was registered under the old content is not read as if it were that
    with pytest.raises(UnfitPixels, match="changed since it was added"):
        render_item("photos", previous)


def test_a_file_outside_the_folder_is_never_read(home: Path, folder: Path, tmp_path: Path) -> None:
    secret = pictures.write_plain(tmp_path / "secret-2024-05-01.tif", PICTURE)
    pictures.write_plain(folder / "2024-05-02.tif", PICTURE)
    (folder / "linked-2024-05-03.tif").symlink_to(secret)
    (folder / "inside-2024-05-04.tif").symlink_to("2024-05-02.tif")
    os.mkfifo(folder / "pipe-2024-05-05.tif")
    report = add("photos", [folder], AddingOptions())
    assert states(report).keys() == {"2024-05-02", "inside-2024-05-04"}
    reasons = dict(report.refused)
    assert "leads out of the registered folder" in reasons["photos/linked-2024-05-03.tif"]
    assert "no regular file" in reasons["photos/pipe-2024-05-05.tif"]

    item = items_of("photos")["2024-05-02"]
    address = item.assets["image"]
    # a link put in the place of a registered file, and of a folder on its way
    (folder / "2024-05-02.tif").unlink()
    (folder / "2024-05-02.tif").symlink_to(secret)
    with pytest.raises(UnsafeHref, match="symbolic link"):
        render_item("photos", item)
    # and addresses that climb
    for climbing in (
        "../secret-2024-05-01.tif",
        "%2e%2e/secret-2024-05-01.tif",
        "a/..%2f..%2fsecret.tif",
        "/etc/passwd",
    ):
        forged = f"local://photos/photos/{climbing}"
        with pytest.raises(UnsafeHref):
            hrefs.check(forged, report.source.list_grants())
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path)
    with pytest.raises(UnsafeHref):
        render_item("photos", _with(item, address.replace("2024-05-02", "secret-2024-05-01")))


def _with(item: Item, address: str) -> Item:
    return replace(item, assets={"image": address})


@pytest.mark.parametrize("scheme", ["file://{path}", "local://photos/photos/2024-05-01.tif", "/{path}"])
def test_items_of_other_catalogs_open_no_local_file(home: Path, folder: Path, scheme: str) -> None:
    path = pictures.write_plain(folder / "2024-05-01.tif", PICTURE)
    add("photos", [folder], AddingOptions())
    source, profile = registry.find("photos"), profiles.load("rgb-cog")
    href = scheme.format(path=path)
    document = {
        "type": "Feature",
        "id": "foreign",
        "collection": "visual",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
        "properties": {"datetime": "2024-05-01T00:00:00Z"},
        "assets": {"visual": {"href": href}},
        "links": [{"rel": "self", "href": f"{source.url}/items/2024-05-01"}],
    }
    foreign = "https://data.example.org/catalog.json"
    with pytest.raises(BadItem, match=r"no http or https href|relative href"):
        parse_item(document, profile, base=foreign)
    # and if one got into the ledger, its catalog would give no grant
    with pytest.raises(UnsafeHref):
        hrefs.check(href, hrefs.list_readable_hosts(profile, foreign, ["photos", "photos:*"]))
    # nor does the grant of one source open files of another
    other = make_grant("other", Root("photos", folder))
    with pytest.raises(UnsafeHref):
        hrefs.check("local://photos/photos/2024-05-01.tif", [other])


def test_a_source_is_found_by_name_until_it_is_removed(home: Path, folder: Path) -> None:
    pictures.write_plain(folder / "2024-05-01.tif", PICTURE)
    add("photos", [folder], AddingOptions())
    with pytest.raises(UnknownSource, match="did you mean photos"):
        open_catalog("local://photo")
    with registry.lock("photos"), pytest.raises(SourceInUse):
        add("photos", [folder], AddingOptions())
    with pytest.raises(UnusableFile, match="encloses"):
        add("photos", [folder.parent], AddingOptions())
    registry.remove("photos")
    assert registry.list_names() == []
    assert (folder / "2024-05-01.tif").exists()
    with pytest.raises(UnknownSource, match="segwatch source add"):
        open_catalog("local://photos")


def test_nothing_is_registered_where_no_file_can_be_used(home: Path, folder: Path) -> None:
    with pytest.raises(UnusableFile, match="no GeoTIFF"):
        add("photos", [folder], AddingOptions())
    pictures.write_plain(folder / "undated.tif", PICTURE)
    with pytest.raises(UnusableFile, match="give --date"):
        add("photos", [folder], AddingOptions())
    assert registry.list_names() == []
    asked: list[str] = []

    def ask(key: str) -> str:
        asked.append(key)
        return "2024-05-01"

    report = add("photos", [folder], AddingOptions(ask_date=ask))
    assert asked == ["photos/undated.tif"]
    assert states(report) == {"undated": "new"}


def test_a_period_is_kept_where_only_the_year_is_known(home: Path, folder: Path) -> None:
    pictures.write_plain(folder / "1985.tif", PICTURE)
    add("photos", [folder], AddingOptions())
    item = json.loads((home / "sources/photos/items/1985.json").read_text())
    assert item["properties"]["datetime"] is None
    assert list(LocalValidator().item_validator().iter_errors(item)) == []
    middle = items_of("photos")["1985"].acquired_at
    assert abs(middle - datetime(1985, 7, 2, tzinfo=UTC)) < timedelta(days=1)


def test_16_bit_files_are_stretched_to_their_bright_pixels(home: Path, folder: Path) -> None:
    random = np.random.default_rng(5)
    values = random.normal([[[3000]], [[2000]], [[1500]]], 250, (3, *SHAPE)).astype(np.uint16)
    for day in ("2024-05-01", "2024-05-02", "2024-05-03"):
        pictures.write(folder / f"{day}.tif", values, pictures.north_up(SHAPE[0]))
    # under cloud: brighter, in the same unit, and so it must stay
    pictures.write(folder / "2024-05-04.tif", values + 4000, pictures.north_up(SHAPE[0]))
    report = add("photos", [folder], AddingOptions())
    assert [one.converted for one in report.files] == [""] * 4
    found = items_of("photos")
    clear, _ = render_item("photos", found["2024-05-01"])
    cloudy, _ = render_item("photos", found["2024-05-04"])
    assert 60 < np.median(clear) < 190
    assert (np.percentile(clear, 99), np.percentile(clear, 1)) > (220, 35)
    assert np.median(cloudy) == 255


def test_files_of_other_units_are_not_rendered_with_the_range_of_the_others(home: Path, folder: Path) -> None:
    transform = pictures.north_up(SHAPE[0])
    for day in ("2024-05-01", "2024-05-02", "2024-05-03"):
        pictures.write_plain(folder / f"{day}.tif", PICTURE)
    random = np.random.default_rng(5)
    pictures.write(
        folder / "2024-05-04.tif", random.normal(800, 150, (3, *SHAPE)).astype(np.int16), transform
    )
    # GDAL marks the fourth of four 8-bit bands as alpha unless it is told what it is
    nir = random.integers(0, 200, (1, *SHAPE)).astype(np.uint8)
    nir[0, :20, :20] = 0
    pictures.write(folder / "2024-05-05.tif", np.concatenate([PICTURE, nir]), transform)
    report = add("photos", [folder], AddingOptions())
    why = {one.key: one.converted for one in report.files if one.converted}
    assert why["photos/2024-05-04.tif"].startswith("other values")
    assert why["photos/2024-05-05.tif"] == "band 4 is marked as alpha, but holds a picture"
    found = items_of("photos")
    plain, _ = render_item("photos", found["2024-05-01"])
    other, _ = render_item("photos", found["2024-05-04"])
    assert 60 < np.median(other) < 190, "not all white"
    four, valid = render_item("photos", found["2024-05-05"])
    assert valid.all()
    assert np.array_equal(four, plain)


def test_a_small_picture_in_a_large_empty_file_keeps_its_values(home: Path, folder: Path) -> None:
    values = np.zeros((3, 1000, 1000), np.uint8)
    values[:, 500:504, 500:504] = 200
    pictures.write(folder / "2024-05-01.tif", values, pictures.north_up(1000), photometric="rgb", nodata=9)
    profile = add("photos", [folder], AddingOptions()).profile
    assert (profile.low, profile.high) == (0, 255)


@pytest.mark.parametrize("west", [179.9968, -180.0032, 180.0, 183.0])
def test_longitudes_beyond_180_degrees_are_read(home: Path, folder: Path, west: float) -> None:
    """A file across the antimeridian, and one of the convention from 0 to 360, in degrees."""
    size = 1e-4
    transform = Affine(size, 0, west, 0, -size, -17.0)
    pictures.write(folder / "2024-05-01.tif", PICTURE, transform, "EPSG:4326", photometric="rgb")
    add("photos", [folder], AddingOptions())
    (item,) = items_of("photos").values()
    source = registry.find("photos")
    profile = profiles.load(str(source.profile_path))
    # a grid that reaches far beyond the file to both sides, as that of a watch over many files
    middle = (west + SHAPE[1] * size / 2 + 180) % 360 - 180
    x, y = get_transformer(LONLAT, CRS.from_epsg(32601)).transform(middle, -17.0 - SHAPE[0] * size / 2)
    grid = GeoBox((120, 400), Affine(10, 0, x - 2000, 0, -10, y + 600), "EPSG:32601")
    [scene] = group_scenes([item])
    window = read_scene(scene, profile, grid, allowed_hosts=hrefs.list_readable_hosts(profile, source.url))
    covered_m2 = float(window.valid.sum()) * 100
    assert covered_m2 == pytest.approx(compute_area_m2(shape(item.footprint)), rel=0.05)
