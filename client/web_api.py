"""A server of the ledger as a source: ``segwatch serve``, by its OGC API Features and its JSON.

The server decides what a reader sees. Links in its answers are not followed to other addresses, which would get the
token: of a link to the next page only the parameters are taken.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import httpx
import shapely

from segwatch.client.columns import IMAGERY
from segwatch.client.errors import AccessRefused, BadRequest, ConnectFailed, SegwatchError
from segwatch.client.frames import parse_day, parse_geometry, parse_time
from segwatch.db.analyst.pages import Condition, Query
from segwatch.geo.text.redaction import to_public_url

#: Size of a response above which it is refused; the server's own pages are far smaller.
_MAX_BYTES = 256 * 2**20
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 60.0
#: A busy server is asked again so often, and at most this long after each refusal.
_TRIES, _MAX_WAIT_SECONDS = 5, 30.0
_BUSY = frozenset({429, 503})


class WebSource:
    """Reads a ledger through its web server.

    Parameters
    ----------
    url
        Address of the map, ``http://`` or ``https://``.
    token
        Token with the scope ``read``; None = the server lets everyone read.

    Raises
    ------
    ConnectFailed
        Nothing answers there, or it is no server of segwatch.
    AccessRefused
        The server needs a token, or does not know this one.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url.rstrip("/")
        headers = {"User-Agent": "segwatch-python"} | ({"Authorization": f"Bearer {token}"} if token else {})
        timeout = httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
        try:
            self._http = httpx.Client(headers=headers, timeout=timeout, follow_redirects=False)
        except ValueError as error:
            raise BadRequest("the token has characters that no header may have; copy it again") from error
        try:
            if not isinstance(self._get("/api/watches"), list):
                raise self._not_ours()
        except BaseException:
            self._http.close()
            raise

    @property
    def where(self) -> str:
        """Address of the server, without user information and secrets."""
        return to_public_url(self._url)

    def stream_pages(self, query: Query, rows: int) -> Iterator[list[dict[str, Any]]]:
        """Read the rows of a query in pages; unlike those of the ledger, they are not from one snapshot."""
        boxes: list[str | None] = [None] if query.boxes is None else []
        if query.boxes:
            boxes.append(",".join(map(repr, _join(query.boxes))))
        for box in boxes:
            yield from self._stream(query, rows, box)

    def _stream(self, query: Query, rows: int, box: str | None) -> Iterator[list[dict[str, Any]]]:
        left = query.limit
        path, asked = _address(query)
        asked["limit"] = str(min(rows, left or rows))
        if box is not None:
            asked["bbox"] = box
        while True:
            found = self._get(path, asked)
            page = [self._read_feature(one, query) for one in _list_features(found, self._not_ours)]
            page = page if left is None else page[:left]
            if page:
                yield page
            left = None if left is None else left - len(page)
            following = _find_next(found)
            # a page may be empty before the last one
            if following is None or left == 0:
                return
            asked |= following

    def _read_feature(self, feature: dict[str, Any], query: Query) -> dict[str, Any]:
        row = dict(feature.get("properties") or {}) | {"geom": feature.get("geometry")}
        missing = [name for name in query.columns if name not in row]
        if missing:
            raise ConnectFailed(
                f"{self.where} runs another version of segwatch: watch.{query.view} there has no {', '.join(missing)}; "
                "use the version of the server"
            )
        return row

    def read_accuracy(self, watch: str) -> dict[str, Any]:
        """See :class:`segwatch.client.sources.Source`."""
        found = self._get("/api/accuracy", {"watch": watch})
        if not isinstance(found, dict) or not {"targets", "words", "drawn_at"} <= found.keys():
            raise self._not_ours()
        return found

    def list_items(self, watch: str, scene_id: str) -> list[dict[str, Any]]:
        """See :class:`segwatch.client.sources.Source`; without signed links, which the server keeps to itself."""
        wanted = (Condition("watch", "=", watch), Condition("scene_id", "=", UUID(scene_id)))
        query = Query(IMAGERY.view, tuple(IMAGERY.columns), IMAGERY.key, wanted)
        return [_to_item(row) for page in self.stream_pages(query, 1000) for row in page]

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def _get(self, path: str, asked: Mapping[str, str] | None = None) -> Any:
        """Get a JSON document, and wait while the server is busy."""
        for attempt in range(_TRIES):
            status, headers, content = self._fetch(path, asked)
            if status not in _BUSY or attempt == _TRIES - 1:
                break
            time.sleep(_read_wait(headers, attempt))
        if status == httpx.codes.OK:
            try:
                return json.loads(content)
            except ValueError as error:
                raise self._not_ours() from error
        raise self._explain(status, headers, content)

    def _fetch(self, path: str, asked: Mapping[str, str] | None) -> tuple[int, Mapping[str, str], bytes]:
        accept = {"Accept": "application/geo+json, application/json"}
        try:
            with self._http.stream("GET", self._url + path, params=asked, headers=accept) as response:
                content = bytearray()
                for part in response.iter_bytes():
                    content += part
                    if len(content) > _MAX_BYTES:
                        raise ConnectFailed(
                            f"{self.where} sent more than {_MAX_BYTES >> 20} MiB; ask for fewer rows"
                        )
                return response.status_code, response.headers, bytes(content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectFailed(
                f"nothing answers at {self.where} ({type(error).__name__}: {error}); start the server there: "
                "segwatch serve"
            ) from error

    def _explain(self, status: int, headers: Mapping[str, str], content: bytes) -> SegwatchError:
        words = _read_words(content)
        if status == httpx.codes.UNAUTHORIZED:
            return AccessRefused(
                f"{self.where} needs a valid token: segwatch.connect(URL, token=...); its operator makes one with: "
                "segwatch token create NAME --watch WATCH"
            )
        if status == httpx.codes.FORBIDDEN:
            return AccessRefused(f"{self.where} refuses this: {words}")
        if 300 <= status < 400:
            target = to_public_url(headers.get("location", ""))
            return ConnectFailed(f"{self.where} redirects to {target}; connect to that address instead")
        if status in _BUSY or status >= 500:
            return ConnectFailed(f"{self.where} cannot answer now ({status}: {words}); try again later")
        if status == httpx.codes.NOT_FOUND:
            return self._not_ours()
        return BadRequest(f"{self.where} refuses this ({status}): {words}")

    def _not_ours(self) -> ConnectFailed:
        return ConnectFailed(
            f"what answers at {self.where} is no server of segwatch; give the address of its map, "
            "such as http://127.0.0.1:8080"
        )


def _address(query: Query) -> tuple[str, dict[str, str]]:
    """Return the path and parameters of a query; the objects of a time have an address of their own."""
    if query.moment is None:
        asked = {"f": "geojson", "sortby": ",".join(query.order)}
        if query.conditions:
            asked["filter"] = " AND ".join(map(_write_condition, query.conditions))
        return f"/ogc/collections/watch.{query.view}/items", asked
    asked = {one.column: str(one.value) for one in query.conditions}  # the watch
    asked["at"] = query.moment.at.isoformat()
    if query.moment.known_at is not None:
        asked["known_at"] = query.moment.known_at.isoformat()
    return "/api/objects", asked


def _list_features(found: Any, wrong: Any) -> list[dict[str, Any]]:
    features = found.get("features") if isinstance(found, dict) else None
    if not isinstance(features, list):
        raise wrong()
    return features


def _find_next(found: dict[str, Any]) -> dict[str, str] | None:
    """Find the parameters of the link to the next page; None on the last page."""
    for link in found.get("links", []):
        if isinstance(link, dict) and link.get("rel") == "next":
            return dict(parse_qsl(urlsplit(str(link.get("href"))).query))
    return None


def _write_condition(one: Condition) -> str:
    """Write a condition as CQL2 text."""
    if one.value is None:
        return f"{one.column} IS NULL" if one.operator == "=" else f"{one.column} IS NOT NULL"
    return f"{one.column} {one.operator} {_write_value(one.value)}"


def _write_value(value: str | bool | datetime | UUID) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return f"TIMESTAMP('{value.isoformat().replace('+00:00', 'Z')}')"
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'"


def _join(boxes: tuple[tuple[float, float, float, float], ...]) -> tuple[float, float, float, float]:
    """Join the two parts of a box across the antimeridian again: its west is then east of its east."""
    first, last = boxes[0], boxes[-1]
    return first[0], first[1], last[2], first[3]


def _to_item(row: dict[str, Any]) -> dict[str, Any]:
    """Convert a row of ``watch.imagery`` to one of ``watch.readable_imagery``, without signed links."""
    times = {name: parse_time(row[name]) for name in ("acquired_at", "item_acquired_at", "updated_at")}
    shape = shapely.to_wkb(parse_geometry(row["geom"]), hex=True)
    return row | times | {"solar_day": parse_day(row["solar_day"]), "geom": shape, "links": {}}


def _read_wait(headers: Mapping[str, str], attempt: int) -> float:
    try:
        wait = float(headers.get("retry-after", ""))
    except ValueError:
        wait = 2.0**attempt
    return min(max(wait, 0.0), _MAX_WAIT_SECONDS)


def _read_words(content: bytes) -> str:
    try:
        found = json.loads(content)
    except ValueError:
        return "without a reason"
    return str(found.get("detail") or found) if isinstance(found, dict) else "without a reason"
