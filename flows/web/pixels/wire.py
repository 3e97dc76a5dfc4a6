"""Messages between the web server and its decoder processes: lengths, JSON heads and plain bytes.

Nothing that either side receives is executed. A request is one JSON document. A response is a JSON head, followed by
the pixels of the tile unless the head reports an error.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import IO, Any

import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from segwatch.db.codec import dump_profile
from segwatch.geo.errors import AccessDenied, GeoError, ReadFailed, SourceFailed, UnfitPixels, UnsafeHref
from segwatch.geo.grid import get_crs
from segwatch.geo.sources.http.credentials import Credentials
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import Profile

#: First bytes that a decoder process sends, once it has loaded its libraries.
READY = b"ready"
#: Largest width and height of a tile, in pixels.
MAX_SIDE = 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_REQUEST_BYTES = 64 * 1024**2
_MAX_VALUE = 2000
#: Errors that are sent by name and values, most specific first.
_ERRORS: Mapping[str, type[GeoError]] = {
    one.__name__: one for one in (SourceFailed, UnfitPixels, ReadFailed, UnsafeHref, AccessDenied)
}


def encode_request(
    scene: Scene,
    profile: Profile,
    grid: GeoBox,
    *,
    hosts: Sequence[str],
    credentials: Credentials,
    reading_seconds: float,
) -> bytes:
    """Encode the request to render a scene on a grid.

    Raises
    ------
    ValueError
        The tile is larger than :data:`MAX_SIDE`.
    """
    if grid.width > MAX_SIDE or grid.height > MAX_SIDE:
        raise ValueError(f"a tile of {grid.width} x {grid.height} pixels is larger than {MAX_SIDE}")
    document = {
        "items": [_dump_item(one) for one in scene.items],
        "profile": dump_profile(profile),
        "crs": get_crs(grid).to_wkt(),
        "transform": list(grid.transform)[:6],
        "shape": list(grid.shape),
        "hosts": list(hosts),
        "credentials": dict(credentials),
        "reading_seconds": reading_seconds,
    }
    return json.dumps(document).encode()


def _dump_item(item: Item) -> dict[str, Any]:
    """Dump the fields of an item that reading its pixels needs."""
    return {
        "id": item.id,
        "collection": item.collection,
        "href": item.href,
        "acquired_at": item.acquired_at.isoformat(),
        "platform": item.platform,
        "relative_orbit": item.relative_orbit,
        "processing_baseline": item.processing_baseline,
        "assets": dict(item.assets),
        "properties": dict(item.properties),
    }


def parse_grid(request: dict[str, Any]) -> GeoBox:
    """Parse the grid of a request."""
    height, width = request["shape"]
    return GeoBox((height, width), Affine(*request["transform"]), CRS.from_wkt(request["crs"]))


def parse_scene(documents: list[dict[str, Any]]) -> Scene:
    """Parse the scene of a request; fields that reading does not need are empty."""
    empty = shapely.Polygon()
    items = tuple(
        Item(
            **{**one, "acquired_at": datetime.fromisoformat(one["acquired_at"])},
            updated_at=None,
            footprint=empty,
        )
        for one in documents
    )
    first = items[0]
    return Scene(
        first.collection, first.platform, first.relative_orbit, date.min, first.acquired_at, items, empty
    )


def dump_error(error: GeoError) -> dict[str, Any]:
    """Dump an error as the head of a response."""
    if isinstance(error, ReadFailed):
        values = [error.asset, error.href, error.reason]
    elif isinstance(error, UnsafeHref):
        values = [error.href, error.reason]
    elif isinstance(error, AccessDenied):
        values = [error.source, error.reason]
    else:
        values = []
    name = next((name for name, kind in _ERRORS.items() if isinstance(error, kind)), "")
    return {"error": name, "values": [one[:_MAX_VALUE] for one in values]}


def load_error(head: dict[str, Any]) -> GeoError:
    """Load the error that the head of a response reports."""
    kind, values = _ERRORS.get(str(head["error"])), head.get("values")
    if kind is None or not isinstance(values, list):
        return GeoError("imagery could not be read")
    return kind(*map(str, values))


def frame(content: bytes) -> bytes:
    """Put the length of a message before it: 4 bytes, big-endian."""
    return struct.pack(">I", len(content)) + content


def receive(pipe: IO[bytes], limit: int) -> bytes:
    """Receive a framed message.

    Raises
    ------
    EOFError
        The message is incomplete, or longer than ``limit`` bytes.
    """
    (count,) = struct.unpack(">I", read_exactly(pipe, 4))
    if count > limit:
        raise EOFError
    return read_exactly(pipe, count)


def read_exactly(pipe: IO[bytes], count: int) -> bytes:
    """Read ``count`` bytes.

    Raises
    ------
    EOFError
        The pipe ended before.
    """
    content = pipe.read(count)
    if len(content) < count:
        raise EOFError
    return content
