"""Searches over real HTTP: recorded pages, catalogs that repeat pages, and links to other hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from shapely.geometry import box

from segwatch.geo.errors import CatalogUnreachable, SearchIncomplete
from segwatch.geo.sources import profiles
from segwatch.geo.sources.search.item_search import RejectedItem, search
from segwatch.geo.types.scene import Item
from tests.support.paths import DATA
from tests.support.serving import running

RECORDED = DATA / "stac"
LONG_AGO, NOW = datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
EVERYWHERE = box(-179, -80, 179, 80)
NAIP = profiles.load("naip-planetary")

Pages = Callable[[str, int], tuple[int, dict[str, Any]]]


@contextmanager
def catalog(pages: Pages) -> Iterator[str]:
    """A STAC API that responds to its n-th search request with ``pages(base, n)``."""
    asked = {"searches": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self._answer()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

        def _answer(self) -> None:
            base = f"http://{self.headers['host']}"
            if self.path.startswith("/search"):
                asked["searches"] += 1
                code, document = pages(base, asked["searches"])
            else:
                code, document = 200, landing(base)
            body = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with running(Handler) as url:
        yield url


def landing(base: str) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "id": "recorded",
        "description": "recorded pages",
        "stac_version": "1.0.0",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
        "links": [
            {"rel": "self", "href": base},
            {"rel": "root", "href": base},
            {"rel": "search", "href": f"{base}/search", "method": "POST"},
        ],
    }


def recorded(name: str) -> dict[str, Any]:
    page: dict[str, Any] = json.loads((RECORDED / name).read_text(encoding="utf-8"))["response"]
    return page | {"links": []}


def follow(base: str, page: dict[str, Any]) -> dict[str, Any]:
    link = {
        "rel": "next",
        "href": f"{base}/search",
        "method": "POST",
        "body": {"token": "next"},
        "merge": True,
    }
    return page | {"links": [link]}


def found(url: str) -> list[Item | RejectedItem]:
    return list(search(url, NAIP, EVERYWHERE, LONG_AGO, NOW))


def test_all_pages_are_followed() -> None:
    def pages(base: str, number: int) -> tuple[int, dict[str, Any]]:
        if number == 1:
            return 200, follow(base, recorded("pc_naip_page1.json"))
        return 200, shorter

    # the last page must be shorter than the first to be known as the last
    shorter = recorded("pc_naip_page2.json")
    shorter["features"].pop()
    wanted = [
        feature["id"] for page in (recorded("pc_naip_page1.json"), shorter) for feature in page["features"]
    ]
    with catalog(pages) as url:
        items = found(url)
    assert [one.id for one in items if isinstance(one, Item)] == list(dict.fromkeys(wanted))


def test_a_catalog_that_always_repeats_its_page_is_incomplete() -> None:
    items: list[Item | RejectedItem] = []
    with (
        catalog(lambda base, _: (200, follow(base, recorded("pc_naip_page1.json")))) as url,
        pytest.raises(SearchIncomplete, match="lead back"),
    ):
        items.extend(search(url, NAIP, EVERYWHERE, LONG_AGO, NOW))
    identities = [one.id for one in items if isinstance(one, Item)]
    assert len(identities) == len(set(identities)) == len(recorded("pc_naip_page1.json")["features"])


def test_a_next_link_to_another_host_is_not_followed() -> None:
    def pages(_: str, __: int) -> tuple[int, dict[str, Any]]:
        return 200, follow("http://169.254.169.254", recorded("pc_naip_page1.json"))

    with catalog(pages) as url, pytest.raises(CatalogUnreachable, match="not allowed"):
        found(url)


def test_a_broken_item_is_rejected_and_the_others_are_returned() -> None:
    page = recorded("pc_naip_page1.json")
    broken = json.loads(json.dumps(page["features"][0])) | {"id": "broken"}
    broken["geometry"] = None
    with catalog(lambda *_: (200, page | {"features": [broken, "nonsense", *page["features"]]})) as url:
        items = found(url)
    (rejected,) = [one for one in items if isinstance(one, RejectedItem)]
    assert rejected.item_id == "broken"
    assert "geometry" in rejected.reason
    assert len(items) == len(page["features"]) + 1


@pytest.mark.parametrize(
    ("code", "document", "reason"),
    [
        (403, {"description": "no"}, "HTTP 403"),
        (200, {"features": "none"}, "no list of features"),
        (404, {}, "HTTP 404"),
    ],
)
def test_error_responses_are_reported(code: int, document: dict[str, Any], reason: str) -> None:
    with catalog(lambda *_: (code, document)) as url, pytest.raises(CatalogUnreachable, match=reason):
        found(url)


def test_a_web_page_is_not_a_catalog() -> None:
    with catalog(lambda *_: (200, {})) as url, pytest.raises(CatalogUnreachable):
        list(search(f"{url}/search", NAIP, EVERYWHERE, LONG_AGO, NOW))
