"""Finish complete responses: ETag and 304 for what the client has already, Brotli or gzip for what it has not.

Only GET responses of the paths in :data:`COMPRESSED` are compressed. They hold no secret of the reader, so that their
length tells nothing about one; the pages of the login, which reflect what was entered, are not among them.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable

import brotli
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from segwatch.flows.web.caching import etag_matches
from segwatch.flows.web.guards.sending import BufferedResponse

COMPRESSED = ("/api/", "/ogc", "/stac", "/feeds/", "/static/", "/openapi.json", "/asyncapi.json")
#: Media types of texts, and of vector tiles; pictures are compressed already.
_TYPES = ("text/", "application/", "image/svg+xml")
_PACKED = (
    "application/vnd.apache.parquet",
    "application/zip",
    "application/gzip",
    "application/octet-stream",
)
#: Smaller responses gain nothing, and larger ones would occupy a core for long.
_MIN_BYTES, _MAX_BYTES = 1024, 16 * 2**20
#: As fast as gzip, and smaller; see docs/explanation/cost.md. In order of preference.
_GZIP_LEVEL, _BROTLI_QUALITY = 5, 4
_ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "br": lambda body: bytes(brotli.compress(body, quality=_BROTLI_QUALITY)),
    "gzip": lambda body: gzip.compress(body, _GZIP_LEVEL, mtime=0),
}
_OK = 200


async def finish(response: BufferedResponse, scope: Scope, path: str) -> None:
    """Add an ETag, and replace the body by nothing or by a compressed one where that is right.

    Raises
    ------
    segwatch.flows.web.guards.sending.ResponseTooLarge
        The budget of all responses has no room for the compressed body.
    """
    start = response.start
    if start is None or start["status"] != _OK or scope["method"] not in {"GET", "HEAD"}:
        return
    if not path.startswith(COMPRESSED):
        return
    asked, headers = Headers(scope=scope), MutableHeaders(scope=start)
    body = b"".join(response.parts)
    response.parts[:] = [body]
    if scope["method"] == "GET" and len(body) <= _MAX_BYTES:
        headers.setdefault("ETag", f'W/"{hashlib.sha256(body).hexdigest()[:32]}"')
    headers.setdefault("Cache-Control", "no-cache")
    etag = headers.get("etag")
    if etag is not None and etag_matches(asked.get("if-none-match", ""), etag):
        _empty(response)
        start["status"] = 304
        for name in ("content-length", "content-type", "content-disposition"):
            del headers[name]
        return
    if not _may_compress(headers, len(body)):
        return
    headers.add_vary_header("Accept-Encoding")
    encoding = choose_encoding(asked.get("accept-encoding", ""))
    if encoding is None:
        return
    packed = await run_in_threadpool(_ENCODINGS[encoding], body)
    if len(packed) >= len(body):
        return
    _empty(response)
    response.share.hold(len(packed))
    response.parts.append(packed)
    headers["Content-Encoding"] = encoding
    headers["Content-Length"] = str(len(packed))
    if etag is not None and not etag.startswith("W/"):
        headers["ETag"] = f"W/{etag}"


def _may_compress(headers: MutableHeaders, size: int) -> bool:
    kind = headers.get("content-type", "")
    fits = _MIN_BYTES <= size <= _MAX_BYTES and "content-encoding" not in headers
    return fits and kind.startswith(_TYPES) and not kind.startswith(_PACKED)


def _empty(response: BufferedResponse) -> None:
    response.share.release(sum(map(len, response.parts)))
    response.parts.clear()


def choose_encoding(accepted: str) -> str | None:
    """Choose the encoding that the header ``Accept-Encoding`` prefers; None = only the plain body is acceptable."""
    weights: dict[str, float] = {}
    for one in accepted.lower().split(","):
        name, _, more = one.partition(";")
        weights[name.strip()] = _parse_weight(more)
    offered = {name: weights.get(name, weights.get("*", 0.0)) for name in _ENCODINGS}
    best = max(offered, key=lambda name: offered[name])  # the first of equals
    return best if offered[best] > 0 else None


def _parse_weight(text: str) -> float:
    """Parse ``q=...``; 1 where there is none (RFC 9110, section 12.4.2), 0 where it is invalid."""
    if not text.strip():
        return 1.0
    name, _, value = text.replace(" ", "").partition("=")
    try:
        return float(value) if name == "q" and value.replace(".", "", 1).isdigit() else 0.0
    except ValueError:
        return 0.0
