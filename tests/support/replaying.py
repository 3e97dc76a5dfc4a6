"""Replay recorded exchanges with public catalogs over real HTTP."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.support.paths import DATA
from tests.support.serving import running

RECORDINGS = DATA / "stac" / "recordings"


def bodies(name: str) -> list[tuple[str, str, str]]:
    """Method, URL and body of each recorded response, in order."""
    with gzip.open(RECORDINGS / f"{name}.gz") as file:
        interactions = yaml.load(file, yaml.CSafeLoader)["interactions"]
    return [
        (one["request"]["method"], one["request"]["uri"], _text(one["response"]["body"]["string"]))
        for one in interactions
    ]


def features(name: str) -> list[dict[str, Any]]:
    """The items of all recorded responses."""
    documents = [json.loads(body) for _, _, body in bodies(name)]
    return [feature for document in documents for feature in document.get("features", [])]


@contextmanager
def replaying(name: str) -> Iterator[str]:
    """A server that gives the answers to each method and path in the order of the recording, the last one again and
    again, with its own address in the place of the catalog's. Gives that of the catalog's root.

    The recordings stop in the middle: their last page links to no further one and counts what was recorded.
    """
    recorded = bodies(name)
    root = recorded[0][1].removesuffix("/search").rstrip("/")
    answers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for method, uri, body in recorded:
        answers[method, urlsplit(uri).path.rstrip("/")].append(body)
    for pages in answers.values():
        _end(pages)
    path = urlsplit(root).path
    answers.setdefault(("GET", path), [json.dumps(_landing(root))])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._answer("POST")

        def _answer(self, method: str) -> None:
            waiting = answers.get((method, self.path.partition("?")[0].rstrip("/")), [])
            text = waiting.pop(0) if len(waiting) > 1 else "".join(waiting)
            body = text.replace(root, f"http://{self.headers['host']}{path}").encode()
            self.send_response(200 if body else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with running(Handler) as url:
        yield f"{url}{path}"


def _end(pages: list[str]) -> None:
    """Turn the last recorded page into a final one: shorter than the others, without a next link."""
    last = json.loads(pages[-1]) if pages[-1] else None
    if not isinstance(last, dict) or "features" not in last:
        return
    ended = last | {"links": [link for link in last["links"] if link["rel"] != "next"]}
    if len(pages) > 1:
        pages.append(json.dumps(ended | {"features": []}))
    else:
        pages[-1] = json.dumps(ended)
    for at, page in enumerate(pages):
        counted = json.loads(page) | {"context": {}}
        counted.pop("numberMatched", None)
        pages[at] = json.dumps(counted)


def _text(body: str | bytes) -> str:
    if isinstance(body, str):
        return body
    return (gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body).decode()


def _landing(root: str) -> dict[str, Any]:
    """Root document for recordings that start with the search."""
    return {
        "type": "Catalog", "id": "recorded", "description": "recorded", "stac_version": "1.0.0",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
        "links": [{"rel": "search", "href": f"{root}/search", "method": "POST"}],
    }  # fmt: skip
