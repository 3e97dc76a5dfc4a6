"""A STAC API over real HTTP with the items that a test adds, which fails as the test specifies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.serving import running

PAGE = 3
ALWAYS = "1900-01-01T00:00:00Z/2200-01-01T00:00:00Z"
_CORE = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
QUERY = "https://api.stacspec.org/v1.0.0/item-search#query"

#: Returns status, headers and body instead of the n-th response, or None to leave it.
Fault = Callable[[int], tuple[int, dict[str, str], bytes] | None]


@dataclass
class Store:
    """Items and received requests of the catalog."""

    conforms: list[str] = field(default_factory=lambda: [*_CORE, QUERY])
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    searches: list[dict[str, Any]] = field(default_factory=list)
    """Body of the first page's request of each search."""
    fault: Fault = lambda number: None
    requests: int = 0
    matched: int | None = None
    """``numberMatched`` of every search; None = the true number."""

    def put(self, identity: str, at: str, *, updated: str | None = None, **properties: Any) -> None:
        """Add an item over the square 0..1, acquired at a time."""
        given = {"datetime": at, "platform": "made-1", **properties}
        if updated is not None:
            given["updated"] = updated
        square = [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]
        self.items[identity] = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": identity,
            "collection": "visual",
            "geometry": {"type": "Polygon", "coordinates": square},
            "properties": given,
            "links": [],
            "assets": {"visual": {"href": f"https://data.example.org/{identity}.tif"}},
        }

    def page(self, body: dict[str, Any], base: str) -> dict[str, Any]:
        """A page of search results."""
        first, last = (datetime.fromisoformat(part) for part in body.get("datetime", ALWAYS).split("/"))
        since = body.get("query", {}).get("updated", {}).get("gt")
        found = [
            item
            for _, item in sorted(self.items.items())
            if _when(item) is None or first <= datetime.fromisoformat(_when(item) or "") <= last
            if since is None or str(item["properties"].get("updated", "")) > since
        ]
        begin = int(body.get("token", 0))
        links = []
        if begin + PAGE < len(found):
            more = {**body, "token": begin + PAGE}
            links = [{"rel": "next", "method": "POST", "href": f"{base}/search", "body": more}]
        return {
            "type": "FeatureCollection",
            "features": found[begin : begin + PAGE],
            "links": links,
            "numberMatched": len(found) if self.matched is None else self.matched,
        }


def _when(item: dict[str, Any]) -> str | None:
    given = item["properties"].get("datetime")
    return given if isinstance(given, str) and given[:1].isdigit() else None


@contextmanager
def stac_store(store: Store) -> Iterator[str]:
    """Serve the catalog; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            base = f"http://{self.headers['host']}"
            search = {"rel": "search", "href": f"{base}/search", "method": "POST"}
            links = [{"rel": "self", "href": base}, {"rel": "root", "href": base}, search]
            landing = {"type": "Catalog", "id": "made", "description": "made", "stac_version": "1.0.0"}
            self._send(
                200, {}, json.dumps({**landing, "conformsTo": store.conforms, "links": links}).encode()
            )

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            store.requests += 1
            failed = store.fault(store.requests)
            if failed is not None:
                self._send(*failed)
                return
            if "token" not in body:
                store.searches.append(body)
            page = store.page(body, f"http://{self.headers['host']}")
            self._send(200, {}, json.dumps(page).encode())

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            for name, value in ({"content-length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with running(Handler) as url:
        yield url
