"""Scenes of a ledger whose pixels come from a server of a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from threading import Event
from urllib.parse import urlsplit

import numpy as np
import psycopg
from affine import Affine

from tests.conftest import Database
from tests.support.images import tiff
from tests.support.serving import running

#: On the ground of the scenes of ``tests.invariants``, and a tile within it.
_CORNER = Affine(10, 0, 571_000, 0, -10, 5_541_500)
TILE = "13/4323/2778"


def picture() -> bytes:
    """A GeoTIFF of one band from 0 to 1."""
    bands = np.random.default_rng(7).random((1, 300, 200)).astype("float32")
    return tiff(bands, crs="EPSG:32632", transform=_CORNER)


def show_from(database: Database, url: str) -> None:
    """Every scene of the ledger has its pixels at this address from now on."""
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")  # rows that nobody changes
        conn.execute("UPDATE segwatch.scene_item SET assets = %s", [json.dumps({"red": url})])
        conn.execute(
            "UPDATE segwatch.watch SET definition = jsonb_set(definition, '{profile,hosts}', %s)",
            [json.dumps([urlsplit(url).netloc])],
        )


@contextmanager
def silent_host() -> Iterator[tuple[str, Event]]:
    """A server that takes requests and answers none until the event is set; then it has the picture."""
    content, answers = picture(), Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not answers.wait(300):
                return
            first, last = (int(part) for part in self.headers["range"].removeprefix("bytes=").split("-"))
            part = content[first : last + 1]
            self.send_response(206)
            self.send_header("content-range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
            self.send_header("content-length", str(len(part)))
            self.end_headers()
            with suppress(OSError):  # nobody waits for it any more
                self.wfile.write(part)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with running(Handler) as url:
        try:
            yield f"{url}/picture.tif", answers
        finally:
            answers.set()
