"""A STAC API over real HTTP with the variations and defects of real catalogs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from shapely.geometry import box, mapping, shape

from tests.support.serving import running

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
CORE = ("https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search")
QUERY = "https://api.stacspec.org/v1.0.0/item-search#query"
FILTER = "https://api.stacspec.org/v1.0.0/item-search#filter"

Json = dict[str, Any]


def items(
    count: int, *, every: timedelta = timedelta(hours=7), at: datetime = BEGIN, column: int = 0
) -> list[Json]:
    """Items at regular times; with ``column``, side by side in that many columns of one degree."""
    return [_item(number, at + number * every, column) for number in range(count)]


def _item(number: int, moment: datetime, columns: int) -> Json:
    west, south = (number % columns, number // columns) if columns else (0, 0)
    square = box(west + 0.01, south + 0.01, west + 0.99, south + 0.99) if columns else box(0, 0, 1, 1)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"i{number:04d}",
        "collection": "visual",
        "bbox": list(square.bounds),
        "geometry": mapping(square),
        "properties": {"datetime": moment.isoformat().replace("+00:00", "Z"), "platform": "made-1"},
        "links": [],
        "assets": {"visual": {"href": f"https://data.example.org/{number}.tif"}},
    }


@dataclass
class OddCatalog:
    """Items and behaviour of the catalog."""

    items: list[Json]
    most: int = 100
    """Maximum page size; a larger ``limit`` is lowered silently, or refused with ``refuses_limit``."""
    refuses_limit: int = 0
    """HTTP status for a limit above ``most``; 0 = the limit is lowered."""
    link: str = "post"
    """Form of the link to the next page: post, merge, get, relative, header, loop (leads back), none."""
    methods: tuple[str | None, ...] = ("POST",)
    """Methods of the search links in the root; None = a link without method."""
    takes: tuple[str, ...] = ("GET", "POST")
    refusal: int = 405
    """HTTP status for an unsupported method."""
    intersects: bool = True
    """False = geometries are refused, bounding boxes accepted."""
    keeps_period: bool = True
    matched: int | None = None
    """``numberMatched``; None = missing."""
    conforms: tuple[str, ...] = CORE
    collections: tuple[str, ...] | None = ("visual",)
    """Collections; None = no list of them."""
    search: bool = True
    """False = only items of collections, no search across them."""
    broken: int = 0
    """HTTP status of every search; 0 = success."""
    asked: list[tuple[str, Json]] = field(default_factory=list)
    """Path and parameters of each requested page."""

    def page(self, base: str, path: str, asked: Json) -> Json:
        """One page of search results."""
        found = [one for one in self.items if self._wanted(one, asked)]
        begin, length = int(asked.get("token", 0)), min(int(asked.get("limit", 10)), self.most)
        links = []
        if begin + length < len(found) or self.link == "loop":
            links = self._links(f"{base}{path}", asked, 0 if self.link == "loop" else begin + length)
        counted = {} if self.matched is None else {"numberMatched": self.matched}
        return {
            "type": "FeatureCollection",
            "features": found[begin : begin + length],
            "links": links,
            **counted,
        }

    def _links(self, href: str, asked: Json, token: int) -> list[Json]:
        whole = {**asked, "token": token}
        flat = urlencode({name: _flat(value) for name, value in whole.items()})
        forms: dict[str, Json] = {
            "post": {"method": "POST", "href": href, "body": whole},
            "loop": {"method": "POST", "href": href, "body": whole},
            "merge": {"method": "post", "href": href, "merge": True, "body": {"token": token}},
            "get": {"href": f"{href}?{flat}"},
            "relative": {"method": "GET", "href": f"?{flat}"},
            "header": {"method": "GET", "href": f"{href}?{flat}"},
        }
        return (
            [{"rel": "next", "type": "application/geo+json", **forms[self.link]}]
            if self.link in forms
            else []
        )

    def _wanted(self, one: Json, asked: Json) -> bool:
        moment = datetime.fromisoformat(one["properties"]["datetime"])
        if self.keeps_period and "datetime" in asked:
            first, last = (datetime.fromisoformat(part) for part in asked["datetime"].split("/"))
            if not first <= moment <= last:
                return False
        ground = shape(one["geometry"])
        if "intersects" in asked and not ground.intersects(shape(asked["intersects"])):
            return False
        if "bbox" in asked and not ground.intersects(box(*asked["bbox"])):
            return False
        if "collections" in asked and one["collection"] not in asked["collections"]:
            return False
        ids = asked.get("query", {}).get("id", {})
        return bool(ids.get("gt", "") < one["id"] <= ids.get("lte", "~"))


@contextmanager
def odd_catalog(catalog: OddCatalog) -> Iterator[str]:
    """Serve the catalog; yields the URL of its root."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path.rstrip("/"), urlsplit(self.path).query
            base = f"http://{self.headers['host']}"
            names = catalog.collections or ()
            if path == "":
                self._send(200, _root(base, catalog))
            elif path == "/collections" and catalog.collections is not None:
                self._send(200, {"collections": [_collection(base, name) for name in names], "links": []})
            elif path == "/search" and catalog.search and "GET" in catalog.takes:
                self._page(base, path, _from_query(query))
            elif path == "/search":
                self._send(catalog.refusal, {"description": "not allowed"})
            elif path.startswith("/collections/") and path.split("/")[2] in names:
                name = path.split("/")[2]
                asked = {**_from_query(query), "collections": [name]}
                if path.endswith("/items"):
                    self._page(base, path, asked)
                else:
                    self._send(200, _collection(base, name))
            else:
                self._send(404, {"code": "NotFound", "description": "nothing is here"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not catalog.search or "POST" not in catalog.takes:
                self._send(catalog.refusal, {"description": "not allowed"})
            else:
                self._page(f"http://{self.headers['host']}", "/search", body)

        def _page(self, base: str, path: str, asked: Json) -> None:
            catalog.asked.append((path, asked))
            if catalog.broken:
                self._send(catalog.broken, {"description": "broken"})
            elif catalog.refuses_limit and int(asked.get("limit", 10)) > catalog.most:
                self._send(catalog.refuses_limit, {"description": f"limit must be at most {catalog.most}"})
            elif "intersects" in asked and not catalog.intersects:
                self._send(400, {"description": "unknown parameter intersects"})
            else:
                page = catalog.page(base, path, asked)
                link = page["links"].pop() if catalog.link == "header" and page["links"] else None
                self._send(200, page, {"Link": f'<{link["href"]}>; rel="next"'} if link else {})

        def _send(self, status: int, document: Json, headers: dict[str, str] | None = None) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            given = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
            for name, value in given.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with running(Handler) as url:
        yield url


def _flat(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _from_query(query: str) -> Json:
    asked: Json = {name: values[0] for name, values in parse_qs(query).items()}
    for name in ("intersects", "query"):
        if name in asked:
            asked[name] = json.loads(asked[name])
    if "bbox" in asked:
        asked["bbox"] = [float(side) for side in asked["bbox"].split(",")]
    if "collections" in asked:
        asked["collections"] = asked["collections"].split(",")
    return asked


def _root(base: str, catalog: OddCatalog) -> Json:
    searches = [
        {"rel": "search", "href": f"{base}/search"} | ({"method": method} if method else {})
        for method in catalog.methods
    ]
    links = [{"rel": "self", "href": base}, {"rel": "root", "href": base}]
    data = [{"rel": "data", "href": f"{base}/collections"}]
    return {
        "type": "Catalog", "id": "odd", "description": "odd", "stac_version": "1.0.0",
        "conformsTo": list(catalog.conforms),
        "links": [*links, *data, *(searches if catalog.search else [])],
    }  # fmt: skip


def _collection(base: str, name: str) -> Json:
    at = f"{base}/collections/{name}"
    extent = {
        "spatial": {"bbox": [[0, 0, 9, 9]]},
        "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]},
    }
    links = [
        {"rel": "self", "href": at},
        {"rel": "root", "href": base},
        {"rel": "items", "href": f"{at}/items"},
    ]
    return {
        "type": "Collection", "id": name, "description": name, "license": "other", "stac_version": "1.0.0",
        "extent": extent, "links": links,
    }  # fmt: skip
