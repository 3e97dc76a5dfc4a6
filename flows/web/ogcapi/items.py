"""Route of the features of a collection: the parameters that it takes, pages by cursor, and formats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import cql2
import orjson
from fastapi import Depends, HTTPException, Query, Request, Response
from starlette.datastructures import QueryParams
from starlette.responses import StreamingResponse
from tipg import dependencies
from tipg.collections import Collection, ItemList
from tipg.factory import OGCFeaturesFactory
from tipg.resources.enums import MediaType
from tipg.resources.response import GeoJSONResponse, ORJSONResponse, orjsonDumps

from segwatch.flows.export.features import FeatureFormat
from segwatch.flows.runtime import extras
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.ogcapi.collections import ViewCollection, response_counts
from segwatch.flows.web.ogcapi.cursors import read_cursor
from segwatch.flows.web.ogcapi.queries import write_csv_rows

Requested = Annotated[Collection, Depends(dependencies.CollectionParams)]
_FORMATS = (
    MediaType.geojson, MediaType.html, MediaType.csv, MediaType.json, MediaType.geojsonseq, MediaType.ndjson,
)  # fmt: skip
#: Names that the parameter ``f`` takes; :mod:`segwatch.flows.web.ogcapi.files` answers the last two.
_Form = Literal["geojson", "html", "csv", "json", "geojsonseq", "ndjson", "parquet", "fgb"]
#: Formats that hold geometries as GeoJSON; the others hold them as WKT.
_GEOJSON = frozenset({MediaType.geojson, MediaType.geojsonseq, MediaType.html})


@dataclass(frozen=True)
class Conditions:
    """Parameters that choose features."""

    ids: Annotated[list[str] | None, Depends(dependencies.ids_query)]
    bbox: Annotated[list[float] | None, Depends(dependencies.bbox_query)]
    interval: Annotated[list[str] | None, Depends(dependencies.datetime_query)]
    condition: Annotated[cql2.Expr | None, Depends(dependencies.filter_query)]
    time_column: Annotated[
        str | None, Query(alias="datetime-column", description="column of times that datetime filters")
    ] = None


@dataclass(frozen=True)
class Place:
    """Parameters that choose a page."""

    sortby: Annotated[str | None, Depends(dependencies.sortby_query)]
    limit: Annotated[int, Query(ge=1, description="most features of a page")] = 10
    offset: Annotated[
        int | None, Query(ge=0, description="features to leave out; links to next pages are faster")
    ] = None
    after: Annotated[str | None, Query(description="where the page begins; from the link next")] = None


def choose_format(
    request: Request,
    f: Annotated[
        _Form | None, Query(description="format; default: what the header Accept asks for, or geojson")
    ] = None,
) -> MediaType:
    """Choose the format of a page by the parameter ``f``, then by the header ``Accept``."""
    if f is not None:
        return MediaType[f]
    accepted = request.headers.get("accept", "")
    return dependencies.accept_media_type(accepted, list(_FORMATS)) or MediaType.geojson


def choose_properties(
    collection: Requested,
    properties: Annotated[
        str | None, Query(description="properties that a feature holds, separated by commas; default: all")
    ] = None,
) -> list[str] | None:
    """Choose the properties of a feature.

    Raises
    ------
    fastapi.HTTPException
        400 if the collection has no such property.
    """
    if properties is None:
        return None
    wanted = [one.strip() for one in properties.split(",")]
    known = {one.name for one in collection.properties}
    unknown = sorted(set(wanted) - known - {""})
    if unknown:
        raise HTTPException(
            400, f"properties: unknown {', '.join(unknown)}; the properties are {', '.join(sorted(known))}"
        )
    return wanted


@dataclass(frozen=True)
class Shape:
    """Parameters that choose what a feature holds."""

    properties: Annotated[list[str] | None, Depends(choose_properties)]
    geometry_column: Annotated[
        str | None, Query(alias="geom-column", description="column of geometries; none: without")
    ] = None
    bbox_only: Annotated[bool | None, Query(alias="bbox-only", description="boxes instead of geometries")] = (
        None
    )
    simplify: Annotated[float | None, Query(description="tolerance of simplification, degrees")] = None


def list_file_formats() -> list[tuple[FeatureFormat, str]]:
    """List the binary formats that this server can write, with the titles of their links."""
    if not extras.has_extra("analysis"):
        return []
    return [(FeatureFormat.PARQUET, "GeoParquet"), (FeatureFormat.FGB, "FlatGeobuf")]


def add_items_route(factory: OGCFeaturesFactory) -> None:
    """Add ``GET /collections/{collectionId}/items``."""

    @factory.router.get(
        "/collections/{collectionId}/items",
        response_class=GeoJSONResponse,
        responses={
            200: {
                "description": "A page of features; the link next leads to the following one",
                "content": {one.value: {} for one in _FORMATS}
                | {one.media_type: {} for one in FeatureFormat},
            },
            **REFUSALS,
        },
        tags=["OGC Features API"],
    )
    async def items(
        request: Request,
        collection: Requested,
        conditions: Annotated[Conditions, Depends()],
        place: Annotated[Place, Depends()],
        shape: Annotated[Shape, Depends()],
        form: Annotated[MediaType, Depends(choose_format)],
    ) -> Response:
        """List features of a collection that meet the conditions."""
        found = await _read(request, collection, conditions, place, shape, geojson=form in _GEOJSON)
        page = _Page(factory, request, collection, place, found)
        if form not in _GEOJSON:
            return _respond_rows(form, page.iterate_rows())
        document = page.make_document()
        if form is MediaType.html:
            plain = orjson.loads(orjsonDumps(document))
            html: Response = factory._create_html_response(
                request, plain, template_name="items", title=f"{collection.id} items"
            )
            return html
        if form is MediaType.geojsonseq:
            return _stream(form, document["features"], "items.geojson")
        return GeoJSONResponse(document)


async def _read(
    request: Request,
    collection: Collection,
    conditions: Conditions,
    place: Place,
    shape: Shape,
    *,
    geojson: bool,
) -> ItemList:
    asked: dict[str, Any] = {}
    if isinstance(collection, ViewCollection) and place.after is not None:
        asked["after"] = read_cursor(place.after)
    async with request.app.state.pool.acquire() as conn:
        found: ItemList = await collection.features(
            conn,
            ids_filter=conditions.ids,
            bbox_filter=conditions.bbox,
            datetime_filter=conditions.interval,
            properties_filter=_read_property_filter(request, collection),
            cql_filter=conditions.condition,
            sortby=place.sortby,
            properties=shape.properties,
            limit=place.limit,
            offset=place.offset,
            geom=shape.geometry_column,
            dt=conditions.time_column,
            bbox_only=shape.bbox_only,
            simplify=shape.simplify,
            geom_as_wkt=not geojson,
            **asked,
        )
    return found


def _read_property_filter(request: Request, collection: Collection) -> list[tuple[str, str]]:
    """Read conditions of the form ``column=value``; other parameters are known by then."""
    names = {one.name for one in collection.properties} - {"properties", "geometry"}
    return [(name, value) for name, value in request.query_params.multi_items() if name in names]


@dataclass(frozen=True)
class _Page:
    factory: OGCFeaturesFactory
    request: Request
    collection: Collection
    place: Place
    found: ItemList

    def make_document(self) -> dict[str, Any]:
        """Make the GeoJSON document of the page, without the optional ``timeStamp``: its ETag would never match."""
        name = self.collection.title or self.collection.id
        return {
            "type": "FeatureCollection",
            "id": self.collection.id,
            "title": name,
            "description": self.collection.description or name,
            "numberMatched": self.found["matched"],
            "numberReturned": len(self.found["items"]),
            "links": self._make_links(),
            "features": [
                {**feature, "links": self._make_feature_links(feature.get("id"))}
                for feature in self.found["items"]
            ],
        }

    def _link(self, name: str, **path: Any) -> str:
        return self.factory.url_for(self.request, name, collectionId=self.collection.id, **path)

    def _make_links(self) -> list[dict[str, str]]:
        items, given = self._link("items"), dict(self.request.query_params)

        def link(rel: str, title: str, kind: str, **changed: Any) -> dict[str, str]:
            kept = {**given, **changed}
            query = QueryParams({name: value for name, value in kept.items() if value is not None})
            return {"rel": rel, "title": title, "type": kind, "href": f"{items}?{query}" if query else items}

        collection = {
            "rel": "collection", "title": "Collection", "type": "application/json", "href": self._link("collection"),
        }  # fmt: skip
        links = [collection, link("self", "Items", "application/geo+json")]
        links += [
            link("alternate", f"Items as {one.name}", one.value, f=one.name)
            for one in (MediaType.html, MediaType.csv, MediaType.geojsonseq)
        ]
        links += [
            link("alternate", f"Items as {title}", one.media_type, f=one.value)
            for one, title in list_file_formats()
        ]
        counts = response_counts.get()
        if counts is not None and counts.after is not None:
            links.append(link("next", "Next page", "application/geo+json", after=counts.after, offset=None))
        if self.found["prev"] is not None:
            links.append(
                link("prev", "Previous page", "application/geo+json", offset=self.found["prev"] or None)
            )
        return links

    def _make_feature_links(self, identity: Any) -> list[dict[str, str]]:
        item = self._link("item", itemId=identity)
        return [
            {
                "title": "Collection",
                "href": self._link("collection"),
                "rel": "collection",
                "type": "application/json",
            },
            {"title": "Item", "href": item, "rel": "item", "type": "application/geo+json"},
        ]

    def iterate_rows(self) -> Iterable[dict[str, Any]]:
        """Iterate over the features as rows of a table."""
        items = self.found["items"]
        placed = any(one.get("geometry") is not None for one in items)
        for one in items:
            row = {
                "collectionId": self.collection.id,
                "itemId": one.get("id"),
                **(one.get("properties") or {}),
            }
            yield {**row, "geometry": one.get("geometry")} if placed else row


def _respond_rows(form: MediaType, rows: Iterable[dict[str, Any]]) -> Response:
    if form is MediaType.csv:
        headers = {"Content-Disposition": "attachment;filename=items.csv"}
        return StreamingResponse(write_csv_rows(rows), media_type=form.value, headers=headers)
    if form is MediaType.json:
        return ORJSONResponse(list(rows))
    return _stream(form, rows, "items.ndjson")


def _stream(form: MediaType, rows: Iterable[Any], name: str) -> Response:
    lines = (orjsonDumps(one) + b"\n" for one in rows)
    headers = {"Content-Disposition": f"attachment;filename={name}"}
    return StreamingResponse(lines, media_type=form.value, headers=headers)
