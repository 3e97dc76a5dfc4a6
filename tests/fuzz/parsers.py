"""Every parser that reads from outside, with valid documents to damage and the errors that it may raise."""

from __future__ import annotations

import base64
import io
import json
import tempfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePath
from typing import Any, cast
from uuid import UUID

import numpy as np
import pydantic
import rasterio
import typer
from fastapi import HTTPException, Request
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import SecretStr
from pystac_client.exceptions import APIError
from shapely.geometry import Point, box
from starlette.datastructures import Headers

from segwatch.db.analyst.cursors import read_cursor, write_cursor
from segwatch.db.analyst.deltas import Position
from segwatch.db.analyst.search import parse_id_prefix
from segwatch.db.errors import InvalidCursor, LabelRefused
from segwatch.db.tokens import Scope
from segwatch.flows.assessment.exchange import read_labels
from segwatch.flows.cli.parsing import parse_bbox, parse_last_moment, parse_moment
from segwatch.flows.config import watchfile
from segwatch.flows.config.admin_areas import read_admin_areas
from segwatch.flows.config.cadence import check_cron
from segwatch.flows.config.geojson import parse_geometry
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.config.yaml_document import index_lines, parse_yaml
from segwatch.flows.errors import ConfigError, FlowError
from segwatch.flows.events import playbooks
from segwatch.flows.events.fetch import name_source
from segwatch.flows.export.feed import read_token, write_token
from segwatch.flows.report.exposure import (
    ExposureRefused,
    Ground,
    count_buildings,
    count_people,
    measure_roads,
)
from segwatch.flows.runtime import ground_pictures
from segwatch.flows.web import trials
from segwatch.flows.web.alerts import ManyMarksBody, MarkBody
from segwatch.flows.web.assessments import LabelBody
from segwatch.flows.web.boxes import parse_box
from segwatch.flows.web.guards.access import read_bearer_token
from segwatch.flows.web.guards.finishing import choose_encoding
from segwatch.flows.web.guards.signatures import require_signature
from segwatch.flows.web.guards.site import Site, filter_request
from segwatch.flows.web.ogcapi import cql
from segwatch.flows.web.ogcapi.cursors import Cursor
from segwatch.flows.web.ogcapi.cursors import read_cursor as read_page_cursor
from segwatch.flows.web.operations import ActionBody
from segwatch.flows.web.parameters import parse_interval
from segwatch.flows.web.reviews import ReviewBody
from segwatch.flows.web.stac.searching import parse_body, parse_query
from segwatch.flows.web.tiles import parse_tile
from segwatch.geo.bounded.documents import parse_json
from segwatch.geo.errors import (
    BadBands,
    BadDatePattern,
    BadItem,
    CatalogUnreachable,
    GeoError,
    InvalidAnnouncement,
    InvalidEvent,
    ProfileError,
    TooComplex,
    UnsafeHref,
)
from segwatch.geo.events.document import read_events
from segwatch.geo.events.shaking import compute_shaken_area, find_link_in
from segwatch.geo.items import find_item_href, parse_item, parse_time_and_footprint
from segwatch.geo.local_addresses import find_root
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import headers as http_headers
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.ip_addresses import parse_allowed
from segwatch.geo.sources.http.signatures import parse_expiry, replace_signature
from segwatch.geo.sources.local.bands import parse_bands
from segwatch.geo.sources.local.dates import find_date
from segwatch.geo.sources.local.products import parse_mask
from segwatch.geo.sources.rasters.jpeg2000 import parse_jpeg2000
from segwatch.geo.sources.rasters.structure import UnfitStructure, parse_tiff
from segwatch.geo.sources.search import collections, endpoints, responses, static_catalog
from segwatch.geo.sources.search.announcements import read_announcements
from segwatch.geo.sources.search.paging import EndlessPaging, InvalidPage, StacResponse, follow_pages
from segwatch.geo.sources.search.requests import HttpRequest
from segwatch.geo.text.coordinates import parse_coordinates
from segwatch.geo.text.spelling import describe_errors
from segwatch.geo.text.storable import to_storable
from segwatch.geo.types.event import Event, EventKind
from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import ModelError
from segwatch.model.folder_check import check_header
from segwatch.model.pretrained import read_config
from segwatch.model.publishing import read_facts
from segwatch.model.sam3.loading import check_kind
from segwatch.model.tokenizer import load_tokenizer
from segwatch.model.train.archive import read_archive
from segwatch.model.train.config import load_config
from tests.fuzz.campaign import Parser
from tests.fuzz.damaging import damage_bytes, damage_json, damage_texts
from tests.support.hostile_tiffs import Page, hostile_tiff, mask, overview
from tests.support.paths import ROOT

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_AREA = box(14.0, 46.0, 14.1, 46.1)
_ROOT_URL = "https://stac.example.org/v1/"
_TINY = ROOT / "model" / "weights" / "tiny"
_WEBHOOK_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@cache
def _folder() -> Path:
    """A folder for files that are parsed by their path."""
    return Path(tempfile.mkdtemp(prefix="segwatch-fuzz-"))


def _put(name: str, content: bytes) -> Path:
    path = _folder() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def _read_all(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(ROOT.glob(pattern))]


def _read_json(pattern: str) -> list[Any]:
    return [json.loads(one) for one in _read_all(pattern)]


# ---- catalogs


def _list_items() -> list[Any]:
    made = [one for one in _read_json("tests/data/stac/*.json") if one.get("type") == "Feature"]
    pages = [one for one in _read_json("tests/data/stac/*.json") if one.get("type") == "FeatureCollection"]
    return [*made, *(page["features"][0] for page in pages)]


def _parse_item(document: bytes) -> None:
    """Take an item as a search does, with the profile that fits it and with one that does not."""
    with suppress(ValueError):
        item = parse_json(document)
        if not isinstance(item, dict):
            return
        for name in ("sentinel2-l2a-earthsearch", "rgb-cog"):
            try:
                group_scenes([parse_item(item, profiles.load(name), base=_ROOT_URL, catalog="x")])
            except BadItem:
                parse_time_and_footprint(item)
                find_item_href(item, _ROOT_URL)


_COLLECTION = {
    "type": "Collection", "id": "c", "extent": {
        "spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]},
    }, "links": [{"rel": "items", "href": "./items"}, {"rel": "next", "href": "?page=2"}],
}  # fmt: skip
_LANDING = {
    "type": "Catalog", "id": "x", "stac_version": "1.0.0",
    "conformsTo": ["https://api.stacspec.org/v1.0.0/item-search", "https://api.stacspec.org/v1.0.0/core"],
    "links": [
        {"rel": "search", "href": "search", "method": "POST"}, {"rel": "data", "href": "collections"},
        {"rel": "child", "href": "a/catalog.json"}, {"rel": "item", "href": "b.json"},
    ],
}  # fmt: skip
_PAGE = {
    "type": "FeatureCollection", "numberMatched": 2, "context": {"matched": 2, "limit": 1},
    "features": [
        {"type": "Feature", "id": "a", "collection": "c", "bbox": [1, 2, 3, 4],
         "properties": {"datetime": "2024-01-01T00:00:00Z", "updated": "2024-01-02T00:00:00Z"}},
    ],
    "links": [
        {"rel": "next", "href": "search?page=2", "method": "POST", "body": {"token": "x"}, "merge": True,
         "headers": {"x": "y"}},
    ],
}  # fmt: skip


def _read_answers(document: bytes) -> None:
    """Take a document as every answer of a catalog: landing page, list of collections, page of items, static file."""
    try:
        answer = responses.parse_json(document, "utf-8")
    except ValueError:
        return
    answered = StacResponse(answer, _ROOT_URL)
    first = HttpRequest("POST", f"{_ROOT_URL}search", {"limit": 10})
    with suppress(InvalidPage, EndlessPaging):
        for _ in follow_pages(first, lambda _: answered):
            pass
    listed = StacResponse(
        {"collections": [answer], "links": answer.get("links") if isinstance(answer, dict) else 0}, "x"
    )
    found = collections.look_up_collection(f"{_ROOT_URL}collections", "c", lambda _: listed)
    str(found)
    if not isinstance(answer, dict):
        return
    collections.look_up_collection(f"{_ROOT_URL}collections", "c", lambda _: answered)
    located = endpoints.locate_api(_ROOT_URL, answer, lambda _: answer)
    endpoints.choose_first_form(answer, located)
    endpoints.lists_files(answer)
    extent = static_catalog.SearchExtent(_AREA, _NOW, _NOW)
    for _ in static_catalog.walk_files(_ROOT_URL, answer, lambda _: answered, extent):
        pass
    for _ in static_catalog.sample_collections(_ROOT_URL, answer, lambda _: answered):
        pass


_EVENT = {
    "specversion": "1.0", "source": "https://stac.example.org", "id": "e1", "type": "item.created",
    "data": {"type": "Feature", "id": "a", "collection": "c", "bbox": [1, 2, 3, 4],
             "links": [{"rel": "self", "href": "https://stac.example.org/a"}]},
}  # fmt: skip

_HEADERS = (
    "bytes 0-99/1000", "bytes */1000", "W/\"abc-gzip\"", "Wed, 21 Oct 2015 07:28:00 GMT", "120", "gzip, deflate",
    'multipart/byteranges; boundary="x"', "multipart/byteranges; boundary=THIS", "text/xml; charset=utf-8",
    "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
)  # fmt: skip


def _read_headers(text: str) -> None:
    value = text.encode("utf-8", "replace").decode("latin-1")  # as clients decode them
    given = {
        "retry-after": value, "date": value, "content-length": value, "etag": value, "last-modified": value,
        "content-range": value,
    }  # fmt: skip
    http_headers.parse_validator(given)
    http_headers.parse_content_range(value)
    http_headers.parse_length(given)
    http_headers.parse_retry_after(given, _NOW)
    boundary = http_headers.parse_boundary(value)
    http_headers.parse_charset(value)
    http_headers.parse_single_part(value.encode("utf-8", "replace"), boundary or b"x")


_LINKS = (
    "https://data.example.org/a/b.tif", "https://data.example.org:8443/a.tif?sig=x&se=2024-01-01T00%3A00%3A00Z",
    "https://b.s3.amazonaws.com/k?X-Amz-Date=20240101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=0",
    "https://x.org/?Expires=1700000000&Signature=a", "http://[2001:db8::1]:80/a",
    "local:photos/root/a/b.tif?version=1-2",
    "../c.tif?x=1#f",
)  # fmt: skip


def _check_link(href: str) -> None:
    allowed = ["data.example.org", "*.s3.amazonaws.com", "[2001:db8::1]", "local:photos/root=/data"]
    parse_expiry(href)
    with suppress(ValueError):  # of links that are no URLs, which were refused before they would be signed
        replace_signature(href, "sig=new")
    for check in (
        lambda: hrefs.check(href, allowed),
        lambda: hrefs.check_redirect("https://data.example.org/a", href, allowed),
        lambda: find_root(href, allowed),
    ):
        with suppress(UnsafeHref):
            check()
    hrefs.redact_href(href)
    name_source(to_storable(href))


# ---- imagery


def _write_tiff(**more: Any) -> bytes:
    profile = {
        "driver": "GTiff", "width": 64, "height": 48, "count": 3, "dtype": "uint8", "crs": "EPSG:32633",
        "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_100_000),
    }  # fmt: skip
    with rasterio.MemoryFile(ext=".jp2" if "QUALITY" in more else ".tif") as memory:
        with memory.open(**profile | more) as file:
            shape = (file.count, file.height, file.width)
            file.write((np.arange(np.prod(shape)).reshape(shape) % 251).astype(file.dtypes[0]))
            if more.get("overviews", True) and file.driver == "GTiff":
                file.update_tags(scene="a")
        return bytes(memory.read())


@cache
def _list_tiffs() -> list[bytes]:
    page = Page(512, 512, tile=(256, 256), filled=7)
    return [
        _write_tiff(), _write_tiff(tiled=True, blockxsize=16, blockysize=16, compress="deflate", predictor=2),
        _write_tiff(BIGTIFF="YES", interleave="pixel", dtype="uint16", compress="lzw"),
        hostile_tiff(page, overview(256, 256, filled=3), mask(512, 512, filled=255)),
    ]  # fmt: skip


@cache
def _list_jpeg2000() -> list[bytes]:
    return [_write_tiff(driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")]


def _parse_structure(parse: Callable[[Any], object]) -> Callable[[bytes], object]:
    def run(content: bytes) -> object:
        return parse(lambda at, count: content[at : at + count])

    return run


def _decode_picture(content: bytes) -> object:
    """Whatever passes the check of its structure is decoded by GDAL, as far as the budget of a scene allows."""
    found = parse_tiff(lambda at, count: content[at : at + count])
    with (
        suppress(rasterio.errors.RasterioError, OSError, MemoryError),
        rasterio.MemoryFile(content) as memory,
        memory.open(driver="GTiff") as file,
    ):
        rows, cols = min(file.height, 512), min(file.width, 512)
        file.read(1, window=((0, rows), (0, cols)))
    return found


@cache
def _list_ground_pictures() -> list[bytes]:
    picture = ground_pictures.GroundPicture(
        np.zeros((3, 8, 8), np.uint8), rasterio.crs.CRS.from_epsg(32633), rasterio.Affine(1, 0, 0, 0, -1, 0)
    )
    return [ground_pictures.encode(cast(Any, picture))]


# ---- events

_CAP = b"""<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>a1</identifier><sender>x@example.org</sender>
<sent>2024-10-27T15:00:00+00:00</sent><status>Actual</status><msgType>Alert</msgType><scope>Public</scope>
<info><category>Met</category><event>Flood</event><urgency>Immediate</urgency><severity>Severe</severity>
<certainty>Observed</certainty><headline>Flood</headline><onset>2024-10-27T15:00:00+00:00</onset>
<area><areaDesc>Here</areaDesc><polygon>46,14 46,14.1 46.1,14.1 46,14</polygon><circle>46.05,14.05 3</circle></area>
</info></alert>"""
_GEORSS = b"""<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xmlns:georss="http://www.georss.org/georss"
 xmlns:gml="http://www.opengis.net/gml"><entry><id>e1</id><title>Flood in the north</title>
<updated>2024-10-27T15:00:00Z</updated><georss:polygon>46 14 46 14.1 46.1 14.1 46 14</georss:polygon></entry>
<entry><id>e2</id><title>Wildfire</title><updated>2024-10-27T15:00:00Z</updated><georss:where><gml:Polygon><gml:exterior>
<gml:LinearRing><gml:posList>46 14 46 14.1 46.1 14.1 46 14</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon>
</georss:where></entry></feed>"""
_BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cccccccccc"><!ENTITY d "&b;&b;&b;&b;">]><a>&d;</a>'
_QUAKE = Event("usgs", "x", EventKind.EARTHQUAKE, "M 7.1", _NOW, Point(14.05, 46.05))


def _read_feed(document: bytes) -> None:
    for _ in read_events(document, "example.org/feed"):
        pass


def _ring(side: float) -> list[list[float]]:
    return [list(at) for at in box(14.05 - side, 46.05 - side, 14.05 + side, 46.05 + side).exterior.coords]


_CONTOURS = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "properties": {"value": value},
         "geometry": {"type": "MultiLineString", "coordinates": [_ring(side)]}}
        for value, side in ((5.5, 0.5), (6.5, 0.2))
    ],
}  # fmt: skip


def _read_contours(document: bytes) -> None:
    find_link_in(document)
    compute_shaken_area(document, _QUAKE, least=6.0, largest_km2=5000)


# ---- what operators write


def _parse_watch(content: bytes) -> None:
    index_lines(content)
    watchfile.parse(parse_yaml(content, "w"), base=_folder(), name="w")


def _list_watches() -> list[bytes]:
    return _read_all("examples/*.yaml") + _read_all("demo/watches/*.yaml")


def _load_playbooks(content: bytes) -> None:
    folder = _put("playbooks/one.yaml", content).parent
    _, failed = playbooks.load_each(folder)
    if failed:
        raise ConfigError(failed[0])


def _load_profile(content: bytes) -> object:
    return profiles.load(str(_put("one.toml", content)))


_SETTINGS = {
    "CATALOG_TOKENS": "{}", "FEEDS": '["https://a.example.org/feed"]', "ALLOWED_ADDRESSES": '["10.0.0.0/8:443"]',
    "IMAGERY_HOSTS": '["a.example.org"]', "PUBLIC_URL": "https://map.example.org/", "ALLOWED_HOSTS": '["a"]',
    "TRUSTED_PROXIES": '["10.0.0.1"]', "LEASE_SECONDS": "60", "OUTAGE_HOURS": "72", "MAX_ATTEMPTS": "3",
    "WEBHOOK_SECRET": _WEBHOOK_SECRET, "DATABASE_URL": "postgresql://a@b/c", "CREDENTIALS": '{"a": {"token": "b"}}',
    "PROXY_USERS": '{"*": {"scopes": ["review"]}}', "CORS_ORIGINS": '["https://a.example.org"]', "HOME": "/tmp/x",
    "MAP_TILES_URL": "https://t.example.org/{z}/{x}/{y}.png", "SEGMENTER": "tiny", "APPRISE": '{"a": "json://h"}',
}  # fmt: skip


def _load_settings(given: tuple[str, str]) -> None:
    """Only values that a person may write: an environment holds no NUL."""
    name, value = given
    try:
        values: dict[str, Any] = {name.lower(): value}
        FlowSettings(**values)
    except pydantic.ValidationError as error:
        describe_errors(error)
        raise


def _parse_words(text: str) -> None:
    """Read arguments of commands."""
    for parse, refusal in (
        (parse_bbox, typer.BadParameter),
        (parse_moment, typer.BadParameter),
        (parse_last_moment, typer.BadParameter),
        (parse_bands, BadBands),
        (parse_mask, ValueError),
        (check_cron, ValueError),
        (parse_allowed, ValueError),
        (parse_coordinates, ()),
        (parse_id_prefix, ()),
        (lambda one: find_date(PurePath("a/x20240501.tif"), {}, one, _NOW), BadDatePattern),
        (lambda one: find_date(PurePath(one), {"TIFFTAG_DATETIME": one}, None, _NOW), ()),
    ):
        with suppress(refusal):  # type: ignore[arg-type]  # of one or none
            cast(Callable[[str], object], parse)(text)


_ARGUMENTS = (
    "11.2,46.1,11.4,46.3", "-70 -33 -69 -32", "2024-05-01", "2024-05-01T10:00:00+02:00", "4,3,2,5", "none", "0 6 * * *",
    "*/5 0-6 1,2 L mon", "10.0.0.0/8:443-445", "[fd00::/8]:443", "46°7'12\"N 11°18'E", "%Y%m%d_%H%M",
    "scene_20240501.tif",
    "LC08_L2SP_028030_20200114", "0123abcd", "@daily", "S2B_MSIL2A_20190629T212529", "may 2024.tif", "2024-W09-7",
)  # fmt: skip

# ---- the map and its API

_POLYGON = {"type": "Polygon", "coordinates": [[[14, 46], [14.1, 46], [14.1, 46.1], [14, 46]]]}
_BODIES: tuple[tuple[type[pydantic.BaseModel], dict[str, Any]], ...] = (
    (trials.WatchBody, {
        "source": "profile:x", "area": _POLYGON, "instruction": "segment the water", "targets": ["water"],
        "name": "lakes", "start": "2024-01-01T00:00:00Z", "schedule": "0 6 * * *", "min_polygon_m2": 500,
    }),
    (trials.TrialBody, {"source": "profile:x", "area": _POLYGON, "instruction": "segment the water"}),
    (trials.CheckBody, {"source": "profile:x", "area": _POLYGON, "start": "2024-01-01T00:00:00Z"}),
    (ReviewBody, {
        "track_id": str(UUID(int=1)), "verdict": "edited", "reviewer": "ada", "reason": "cloud", "outline": _POLYGON,
    }),
    (MarkBody, {"mark": "seen", "person": "ada", "note": "x"}),
    (ManyMarksBody, {"alerts": [str(UUID(int=1))], "mark": "seen", "person": "ada", "note": "x"}),
    (LabelBody, {"sample_id": str(UUID(int=1)), "label": "both", "labeller": "ada"}),
    (ActionBody, {"action": "pause", "person": "ada", "note": "x"}),
)  # fmt: skip


def _read_body(given: tuple[type[pydantic.BaseModel], bytes]) -> None:
    kind, document = given
    try:
        made = kind.model_validate_json(document)
    except pydantic.ValidationError as error:
        describe_errors(error)
        return
    for name in ("area", "outline"):
        ground = getattr(made, name, None)
        if ground is not None:
            with suppress(ConfigError):
                parse_geometry(ground, name)
    if isinstance(made, trials.TrialBody | trials.WatchBody):
        profile = profiles.load("rgb-cog")
        with suppress(FlowError, GeoError):
            watchfile.parse(
                {
                    "version": 1, "name": "x", "instruction": made.instruction, "targets": made.choose_targets(),
                    "area": {"geojson": made.area}, "source": {"profile": profile.name}, "start": _NOW.isoformat(),
                },
                base=Path(), name="draft", source=(profile, "https://stac.example.org"),
            )  # fmt: skip


_FILTERS = (
    "area_m2 > 500 AND target = 'water'", "S_INTERSECTS(geom, POLYGON((0 0, 1 0, 1 1, 0 0)))",
    "T_AFTER(last_seen, TIMESTAMP('2024-01-01T00:00:00Z'))", "target IN ('a','b') OR NOT (area_m2 BETWEEN 1 AND 2)",
    "CASEI(target) LIKE casei('W%')",
    '{"op":"and","args":[{"op":">","args":[{"property":"area_m2"},500]},{"op":"=","args":[{"property":"target"},"a"]}]}',
    '{"op":"s_intersects","args":[{"property":"geom"},{"type":"Point","coordinates":[0,0]}]}',
)  # fmt: skip


def _read_filter(text: str) -> None:
    for arithmetic in (True, False):
        with suppress(HTTPException):
            cql.parse(text, ("area_m2", "target", "geom", "last_seen"), arithmetic=arithmetic).to_sql()


_POSITION = Position((), None)
_TOKEN = {
    "watch": "w", "layer": "l", "bbox": None, "area": str(UUID(int=1)),
    "series": [[str(UUID(int=2)), "2024-01-01T00:00:00+00:00", True]],
}  # fmt: skip


def _read_tokens(text: str) -> None:
    with suppress(ConfigError):
        read_token(text, "w", "l", None)
    with suppress(InvalidCursor):
        read_cursor(text)
    with suppress(HTTPException):
        json.dumps(asdict(read_page_cursor(text)), ensure_ascii=False).encode()


def _pack(document: bytes, form: int) -> str:
    packed = zlib.compress(document) if form == 0 else document
    text = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    return f"sw1.{text}" if form == 0 else text


def _list_tokens() -> SearchStrategy[str]:
    made = [
        write_token("w", "l", None, _POSITION),
        write_cursor(_NOW, UUID(int=1)),
        Cursor(("-a",), ("b",), 1).write(),
    ]
    inside = st.builds(_pack, damage_json([_TOKEN, [["a"], ["b"], 1]]), st.integers(0, 1))
    plain = damage_texts([f"{_NOW.isoformat()} {UUID(int=1)}"])
    return (
        inside
        | st.builds(_pack, plain.map(lambda one: one.encode("utf-8", "replace")), st.just(1))
        | damage_texts(made)
    )


_QUERIES = (
    ("bbox", "11.2,46.1,11.4,46.3"), ("datetime", "2024-01-01T00:00:00Z/.."), ("limit", "10"), ("ids", "a,b"),
    ("intersects", json.dumps(_POLYGON)), ("collections", "a"), ("after", "further:a"), ("x", "y"),
)  # fmt: skip


def _read_query(given: tuple[str, str]) -> None:
    name, value = given
    with suppress(HTTPException):
        parse_query([(name, value)])
    with suppress(HTTPException):
        parse_box(value)
    with suppress(ValueError):
        parse_interval(value)
    if value.isascii() and value.isdigit() and len(value) < 4000:
        with suppress(HTTPException):
            parse_tile("WebMercatorQuad", int(value), int(value), 0)


_REQUEST_HEADERS = (
    "Bearer abc", "segwatch=abc; x=y", "gzip;q=0.5, br;q=1.0, *;q=0", "a.example.org:443", "10.0.0.1, 10.0.0.2",
    "https", "v1,AAAA v1a,BBBB", "1700000000", "msg_1",
)  # fmt: skip


def _read_request(value: str) -> None:
    raw = value.encode("latin-1", "replace")
    names = (
        b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"authorization", b"cookie", b"origin",
        b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"accept-encoding",
    )  # fmt: skip
    scope: dict[str, Any] = {
        "type": "http", "headers": [(name, raw) for name in names], "client": ("10.0.0.1", 1), "scheme": "http",
        "server": ("x", 80), "path": "/", "method": "POST", "query_string": b"", "root_path": "",
    }  # fmt: skip
    site = Site("https://map.example.org", frozenset({"a.example.org"}), user_header="x-user")
    filter_request(site, scope)
    read_bearer_token(Headers(scope=scope))
    choose_encoding(value)
    with suppress(HTTPException):
        require_signature(Request(scope), raw, SecretStr(_WEBHOOK_SECRET), Scope.ANNOUNCE)


# ---- files of labels, layers and models


def _write_layer(driver: str, suffix: str) -> bytes:
    import geopandas as gpd

    path = _folder() / f"valid{suffix}"
    table = gpd.GeoDataFrame(
        {"sample_id": [str(UUID(int=1))], "label": ["both"], "name": ["a"]},
        geometry=[Point(14.05, 46.05)],
        crs=4326,
    )
    table.to_file(path, layer="samples", driver=driver)
    return path.read_bytes()


def _write_areas() -> bytes:
    return json.dumps(
        {"type": "FeatureCollection",
         "features": [{"type": "Feature", "properties": {"name": "a"}, "geometry": _POLYGON}]}
    ).encode()  # fmt: skip


def _read_areas(content: bytes) -> None:
    read_admin_areas(_put("areas.geojson", content), "name")


_GROUND = Ground(box(14.0, 46.0, 14.05, 46.1), box(14.05, 46.0, 14.1, 46.1), box(14.2, 46.0, 14.3, 46.1))


def _count_features(content: bytes) -> None:
    path = _put("layer.geojson", content)
    count_buildings(_GROUND, path)
    measure_roads(_GROUND, path)


def _count_raster(content: bytes) -> None:
    count_people(_GROUND, _put("people.tif", content))


@cache
def _list_rasters() -> list[bytes]:
    transform = rasterio.Affine(0.01, 0, 13.9, 0, -0.01, 46.3)
    more = {"count": 1, "crs": "EPSG:4326", "transform": transform, "dtype": "float32"}
    return [
        _write_tiff(**more),
        _write_tiff(**more, tiled=True, blockxsize=16, blockysize=16, compress="deflate"),
    ]


def _read_model_config(document: bytes) -> None:
    found = parse_json(document)
    if isinstance(found, dict):
        SegEarthConfig.from_dict(found)


def _read_model(files: dict[str, bytes]) -> Callable[[tuple[str, bytes]], None]:
    def read(given: tuple[str, bytes]) -> None:
        name, content = given
        for other, valid in files.items():
            _put(f"model/{other}", content if other == name else valid)
        folder = _folder() / "model"
        read_config(folder)
        load_tokenizer(folder)

    return read


def _damage_one(files: dict[str, bytes]) -> SearchStrategy[tuple[str, bytes]]:
    made = [
        st.tuples(
            st.just(name),
            damage_json([json.loads(content)]) if name.endswith(".json") else damage_bytes([content]),
        )
        for name, content in files.items()
    ]
    return st.one_of(made)


@cache
def _make_tokenizer() -> bytes:
    """A tokenizer small enough to be written some thousand times."""
    words = json.loads((_TINY / "tokenizer.json").read_bytes())
    vocabulary, merges = words["model"]["vocab"], words["model"]["merges"]
    kept = {word for word in vocabulary if len(word) == 1}
    words["model"]["vocab"] = {
        word: at for word, at in vocabulary.items() if word in kept or word.startswith("<|")
    }
    words["model"]["merges"] = [one for one in merges if not one][:0]
    return json.dumps(words).encode()


def _make_weights() -> bytes:
    import torch
    from safetensors.torch import save

    return bytes(
        save({"model.embed_tokens.weight": torch.zeros(1024, 2), "b": torch.zeros(3)}, {"format": "pt"})
    )


@cache
def _list_own_files() -> dict[str, bytes]:
    return {"config.json": (_TINY / "config.json").read_bytes(), "tokenizer.json": _make_tokenizer()}


@cache
def _list_official_files() -> dict[str, bytes]:
    return {
        "config.json": json.dumps({"model_type": "segearth", "eos_token_id": 2}).encode(),
        "tokenizer.json": _make_tokenizer(),
        "model.safetensors": _make_weights(),
    }


def _read_official(given: tuple[str, bytes]) -> None:
    _read_model(_list_official_files())(given)


def _read_own(given: tuple[str, bytes]) -> None:
    (_folder() / "model" / "model.safetensors").unlink(missing_ok=True)
    _read_model(_list_own_files())(given)


def _check_sam3(given: tuple[str, bytes]) -> None:
    for name, valid in _list_sam3_files().items():
        _put(f"sam3/{name}", given[1] if name == given[0] else valid)
    check_kind(_folder() / "sam3")
    check_header(_folder() / "sam3" / "model.safetensors")


@cache
def _list_sam3_files() -> dict[str, bytes]:
    config = {"model_type": "sam3", "vision_config": {"image_size": 1008, "num_hidden_layers": 32}}
    return {"config.json": json.dumps(config).encode(), "model.safetensors": _make_weights()}


def _read_recipe(content: bytes) -> None:
    load_config(_put("recipe.toml", content))


def _read_card(content: bytes) -> None:
    read_facts(_put("card.toml", content))


_CARD = b"""licence = "Apache-2.0"
summary = "y"
limits = ["a"]
[[data]]
name = "a"
licence = "b"
attribution = "c"
places = "d"
[[figures]]
what = "e"
value = 0.5
held_out = true
"""


def _write_archive() -> bytes:
    import zipfile

    from PIL import Image

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, kind, mode in (("0.jpg", "JPEG", "RGB"), ("0.water.png", "PNG", "L")):
            stream = io.BytesIO()
            Image.new(mode, (8, 8)).save(stream, kind)
            archive.writestr(name, stream.getvalue())
        entry = {"source": "a", "place": "b", "gsd_m": 1.0, "labels": ["water"], "absent": []}
        archive.writestr("index.json", json.dumps({"format": "segwatch-labelled/1", "samples": [entry]}))
    return made.getvalue()


def _read_archive(content: bytes) -> None:
    for _ in read_archive(_put("sets.zip", content)):
        pass


def _list_profiles() -> list[bytes]:
    return _read_all("geo/sources/profiles_data/*.toml")


def _lazily(make: Callable[[], SearchStrategy[Any]]) -> SearchStrategy[Any]:
    """Make the valid documents when they are needed, not when this module is imported."""
    return st.deferred(make)


def _bytes_of(make: Callable[[], Sequence[bytes]]) -> SearchStrategy[bytes]:
    return _lazily(lambda: damage_bytes(make()))


PARSERS = (
    Parser(
        "json",
        "any JSON from outside",
        parse_json,
        _lazily(lambda: damage_json([_PAGE])),
        (ValueError, TooComplex),
    ),
    Parser(
        "stac-item",
        "items of catalogs",
        _parse_item,
        _lazily(lambda: damage_json(_list_items())),
        (TooComplex,),
    ),
    Parser(
        "catalog-answers",
        "landing pages, collections, pages of items, files of static catalogs",
        _read_answers,
        _lazily(lambda: damage_json([_LANDING, _PAGE, _COLLECTION])),
        (APIError, CatalogUnreachable),
    ),
    Parser(
        "http-headers",
        "headers of catalogs, hosts of imagery, feeds, receivers",
        _read_headers,
        damage_texts(_HEADERS),
    ),
    Parser("links", "hrefs of items and catalogs, redirects", _check_link, damage_texts(_LINKS)),
    Parser(
        "tiff",
        "structure of TIFF files",
        _parse_structure(parse_tiff),
        _bytes_of(_list_tiffs),
        (UnfitStructure,),
    ),
    Parser(
        "jpeg2000",
        "structure of JPEG 2000 files",
        _parse_structure(parse_jpeg2000),
        _bytes_of(_list_jpeg2000),
        (UnfitStructure,),
    ),
    Parser(
        "pixels",
        "pixels of TIFF files that passed the check",
        _decode_picture,
        _bytes_of(_list_tiffs),
        (UnfitStructure,),
    ),
    Parser("ground-picture", "stored quicklooks", ground_pictures.decode, _bytes_of(_list_ground_pictures)),
    Parser(
        "feeds-json",
        "GeoJSON of GDACS, USGS, EONET; signed events",
        _read_feed,
        _lazily(lambda: damage_json(_read_json("tests/data/feeds/*.*json"))),
        (InvalidEvent,),
    ),
    Parser(
        "feeds-xml",
        "CAP, GDACS RSS, GeoRSS, GML",
        _read_feed,
        _lazily(lambda: damage_bytes([_CAP, _GEORSS, _BOMB, *_read_all("tests/data/feeds/*.xml")])),
        (InvalidEvent,),
    ),
    Parser("shakemap", "contours of USGS", _read_contours, damage_json([_CONTOURS]), (InvalidEvent,)),
    Parser(
        "announcements",
        "CloudEvents of catalogs",
        lambda one: read_announcements(one, {}),
        damage_json([_EVENT, [_EVENT]]),
        (InvalidAnnouncement,),
    ),
    Parser(
        "areas",
        "GeoJSON of areas and outlines",
        lambda one: parse_geometry(parse_json(one), "area"),
        damage_json([_POLYGON, {"type": "Feature", "geometry": _POLYGON, "properties": {}}]),
        (ConfigError, ValueError, TooComplex),
    ),
    Parser("watch-file", "watch files", _parse_watch, _bytes_of(_list_watches), (ConfigError,)),
    Parser(
        "playbook",
        "playbooks",
        _load_playbooks,
        _bytes_of(lambda: _read_all("flows/events/playbooks_data/*.yaml")),
        (ConfigError,),
        cost=4,
    ),
    Parser("profile", "profiles of sources", _load_profile, _bytes_of(_list_profiles), (ProfileError,)),
    Parser(
        "settings",
        "variables of the environment",
        _load_settings,
        st.tuples(st.sampled_from(sorted(_SETTINGS)), damage_texts([*_SETTINGS.values()])),
        (pydantic.ValidationError,),
    ),
    Parser(
        "arguments",
        "arguments of commands, names and tags of local files",
        _parse_words,
        damage_texts(_ARGUMENTS),
    ),
    Parser(
        "api-bodies",
        "bodies of the API: trials, watches, reviews, marks, labels, actions",
        _read_body,
        st.sampled_from(_BODIES).flatmap(lambda one: st.tuples(st.just(one[0]), damage_json([one[1]]))),
    ),
    Parser("cql2", "filters of the OGC API", _read_filter, damage_texts(_FILTERS)),
    Parser("tokens", "cursors of pages, tokens of delta feeds", _read_tokens, _lazily(_list_tokens)),
    Parser(
        "queries",
        "parameters: boxes, intervals, limits, tiles",
        _read_query,
        st.tuples(st.sampled_from([one[0] for one in _QUERIES]), damage_texts([one[1] for one in _QUERIES])),
    ),
    Parser(
        "stac-search",
        "bodies of searches of our STAC API",
        parse_body,
        damage_json(
            [
                {"limit": 10, "bbox": [1, 2, 3, 4], "ids": ["a"]},
                {"intersects": _POLYGON, "datetime": "2024-01-01"},
            ]
        ),
        (HTTPException,),
    ),
    Parser(
        "requests",
        "headers of requests: host, proxies, tokens, cookies, signatures",
        _read_request,
        damage_texts(_REQUEST_HEADERS),
    ),
    Parser(
        "labels",
        "labels of an assessment (GeoPackage)",
        lambda one: read_labels(_put("labels.gpkg", one)),
        _lazily(lambda: damage_bytes([_write_layer("GPKG", ".gpkg")])),
        (LabelRefused,),
        cost=10,
    ),
    Parser(
        "admin-areas",
        "administrative areas",
        _read_areas,
        _lazily(lambda: damage_json([json.loads(_write_areas())])),
        (ConfigError,),
        cost=4,
    ),
    Parser(
        "exposure-features",
        "buildings and roads",
        _count_features,
        _lazily(lambda: damage_json([json.loads(_write_areas())])),
        (ExposureRefused,),
        cost=10,
    ),
    Parser(
        "exposure-raster",
        "raster of people",
        _count_raster,
        _bytes_of(_list_rasters),
        (ExposureRefused,),
        cost=4,
    ),
    Parser(
        "model-config",
        "configurations of models",
        _read_model_config,
        _lazily(lambda: damage_json(_read_json("model/weights/tiny/config.json"))),
        (ModelError, ValueError, TooComplex),
    ),
    Parser(
        "model-folder",
        "folders of SegEarth-R2: configuration, tokenizer",
        _read_own,
        _lazily(lambda: _damage_one(_list_own_files())),
        (ModelError,),
        cost=4,
    ),
    Parser(
        "official-folder",
        "folders of the published form: configuration, tokenizer, header of the weights",
        _read_official,
        _lazily(lambda: _damage_one(_list_official_files())),
        (ModelError,),
        cost=4,
    ),
    Parser(
        "sam3-folder",
        "folders of SAM 3",
        _check_sam3,
        _lazily(lambda: _damage_one(_list_sam3_files())),
        (ModelError,),
    ),
    Parser(
        "recipe",
        "recipes of training",
        _read_recipe,
        _bytes_of(lambda: _read_all("model/train/recipes/*.toml")),
        (ModelError,),
    ),
    Parser("card", "facts of a model card", _read_card, _bytes_of(lambda: [_CARD]), (ModelError,)),
    Parser(
        "labelled-sets",
        "archives of labelled pictures",
        _read_archive,
        _bytes_of(lambda: [_write_archive()]),
        (ModelError,),
    ),
)
