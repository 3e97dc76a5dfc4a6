"""Searches of the STAC API: parameters and bodies, and pages of items by key.

Observations come first, latest acquisition first; then, on the last pages, the items of models and of reviewed objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import HTTPException
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection

from segwatch.db import analyst
from segwatch.db.errors import InvalidCursor
from segwatch.flows.config.geojson import parse_geometry
from segwatch.flows.errors import ConfigError
from segwatch.flows.export import stac_items
from segwatch.flows.export.stac_items import Document
from segwatch.flows.web.parameters import parse_box, parse_interval
from segwatch.flows.web.stac.addresses import CatalogSite
from segwatch.geo.antimeridian import intersects
from segwatch.geo.bounded.documents import parse_json
from segwatch.geo.errors import TooComplex
from segwatch.geo.items import parse_time

DEFAULT_LIMIT, MAX_LIMIT = 10, 1000
_MAX_IDS = 1000
_FIELDS = frozenset({"collections", "ids", "bbox", "intersects", "datetime", "limit", "after"})
#: Begins cursors of pages without observations; the rest is collection and item that the page before ended with.
_FURTHER = "further:"


@dataclass(frozen=True, slots=True)
class ItemSearch:
    """What a client searches for."""

    collections: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    begin: datetime | None = None
    end: datetime | None = None
    ground: BaseGeometry | None = None
    """EPSG:4326, split at the antimeridian."""
    limit: int = DEFAULT_LIMIT
    after: str | None = None


def parse_query(parameters: Iterable[tuple[str, str]], known: frozenset[str] = _FIELDS) -> ItemSearch:
    """Parse the parameters of a GET request; lists are separated by commas.

    Raises
    ------
    fastapi.HTTPException
        400: a parameter is unknown or invalid.
    """
    given: dict[str, Any] = dict(parameters)
    for name in ("collections", "ids", "bbox"):
        if name in given:
            given[name] = [one for one in given[name].split(",") if one]
    if "intersects" in given:
        given["intersects"] = _parse_json(given["intersects"], "intersects")
    return _parse(given, known)


def parse_body(body: bytes) -> ItemSearch:
    """Parse the body of a POST request.

    Raises
    ------
    fastapi.HTTPException
        400: it is no object, or a field is unknown or invalid.
    """
    given = _parse_json(body, "the body")
    if not isinstance(given, dict):
        raise HTTPException(400, "send the search as a JSON object")
    return _parse({name: value for name, value in given.items() if value is not None}, _FIELDS)


def _parse_json(text: bytes | str, where: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, TooComplex, RecursionError) as error:
        raise HTTPException(400, f"{where}: no JSON ({error})") from error


def _parse(given: Mapping[str, Any], known: frozenset[str]) -> ItemSearch:
    unknown = sorted(name for name, value in given.items() if name not in known and value not in ([], {}, ""))
    if unknown:
        raise HTTPException(400, f"{', '.join(unknown)}: not supported; there are {', '.join(sorted(known))}")
    if "bbox" in given and "intersects" in given:
        raise HTTPException(400, "give bbox or intersects, not both")
    begin, end = _parse_interval(given.get("datetime"))
    after = given.get("after")
    if after is not None and not isinstance(after, str):
        raise HTTPException(400, "after: take it from the link to the next page")
    return ItemSearch(
        _parse_texts(given, "collections"), _parse_texts(given, "ids"), begin, end, _parse_ground(given),
        _parse_limit(given.get("limit", DEFAULT_LIMIT)), after,
    )  # fmt: skip


def _parse_texts(given: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Parse a list; an empty one asks for everything."""
    found = given.get(name)
    if not found:
        return None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise HTTPException(400, f"{name}: give a list of texts")
    if len(found) > _MAX_IDS:
        raise HTTPException(400, f"{name}: at most {_MAX_IDS}")
    return tuple(found)


def _parse_limit(given: Any) -> int:
    """Parse the size of a page; a larger one than is possible is cut, as the specification allows."""
    try:
        limit = int(given) if isinstance(given, str | int) and not isinstance(given, bool) else 0
    except ValueError:
        limit = 0
    if limit < 1:
        raise HTTPException(400, "limit: a number of items, at least 1")
    return min(limit, MAX_LIMIT)


def _parse_interval(given: Any) -> tuple[datetime | None, datetime | None]:
    if given in (None, "", "..", "../.."):
        return None, None
    try:
        return parse_interval(str(given))
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


def _parse_ground(given: Mapping[str, Any]) -> BaseGeometry | None:
    if "intersects" in given:
        try:
            return parse_geometry(given["intersects"], "intersects")
        except ConfigError as error:
            raise HTTPException(400, str(error)) from error
    if not given.get("bbox"):
        return None
    numbers = given["bbox"]
    try:
        return parse_box(numbers if isinstance(numbers, list) else [])
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


def find_page(conn: Connection, asked: ItemSearch, site: CatalogSite) -> tuple[list[Document], str | None]:
    """Find a page of items, and the cursor of the next one; None = this is the last.

    Raises
    ------
    fastapi.HTTPException
        400: the cursor is none.
    """
    watches = None if asked.collections is None else site.find_watches(conn, asked.collections)
    after, found = asked.after, list[Document]()
    if after is None or not after.startswith(_FURTHER):
        wanted = analyst.CatalogSearch(watches, _parse_names(asked.ids), asked.begin, asked.end, asked.ground)
        try:
            rows, following = analyst.list_catalog_page(conn, wanted, asked.limit, after)
        except InvalidCursor as error:
            raise HTTPException(400, str(error)) from error
        items = [make_observation(row, site) for row in rows]
        found = [one for one in items if asked.ids is None or one["id"] in asked.ids]
        if following is not None:
            return found, following
        after = _FURTHER
    for item in iterate_further(conn, watches, site):
        place = f"{_FURTHER}{item['collection']}/{item['id']}"
        if place <= after or not _meets(item, asked):
            continue
        if len(found) == asked.limit:
            return found, after
        found.append(item)
        after = place
    return found, None


def make_observation(row: Mapping[str, Any], site: CatalogSite) -> Document:
    """Make the item of an observation from a row of :func:`segwatch.db.analyst.list_catalog_page`."""
    collection = stac_items.name_collection(row["watch"])
    return stac_items.make_item(row, collection, site.locate(collection))


def iterate_further(conn: Connection, watches: Sequence[str] | None, site: CatalogSite) -> Iterator[Document]:
    """Iterate over the items of models and reviewed objects, by collection and id."""
    made: list[Document] = []
    for row in analyst.list_model_uses(conn, watches):
        collection = stac_items.name_collection(row["watch"])
        bounds = (row["west"], row["south"], row["east"], row["north"])
        use = stac_items.ModelUse(row["model"], bounds, row["begin"], row["end"])
        made.append(stac_items.make_model_item(use, collection, site.locate(collection)))
    for name in analyst.list_watch_names(conn) if watches is None else watches:
        rows = list_reviewed(conn, name)
        if rows:
            collection = stac_items.name_collection(name)
            made.append(stac_items.make_reviewed_item(rows, collection, site.locate(collection)))
    yield from sorted(made, key=lambda one: f"{one['collection']}/{one['id']}")


def list_reviewed(conn: Connection, watch: str) -> list[dict[str, Any]]:
    """List the latest verdict about each reviewed object of a watch."""
    parts = analyst.iter_reviewed(conn, analyst.Selection(watch))
    return [dict(zip(analyst.REVIEW_COLUMNS, row, strict=True)) for part in parts for row in part]


def parse_name(name: str) -> UUID | None:
    """Parse the name of an observation's item; None = it is another one."""
    try:
        found = UUID(name[11:])
    except ValueError:
        return None
    return found if name[11:] == str(found) else None


def _parse_names(names: Sequence[str] | None) -> tuple[UUID, ...] | None:
    return None if names is None else tuple(found for one in names if (found := parse_name(one)))


def _meets(item: Document, asked: ItemSearch) -> bool:
    held = item["properties"]
    begin, end = parse_time(held["start_datetime"]), parse_time(held["end_datetime"])
    return (
        (asked.ids is None or item["id"] in asked.ids)
        and (asked.begin is None or end is None or end >= asked.begin)
        and (asked.end is None or begin is None or begin <= asked.end)
        and (asked.ground is None or intersects(shape(item["geometry"]), asked.ground))
    )
