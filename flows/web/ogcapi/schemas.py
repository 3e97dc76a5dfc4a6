"""JSON Schemas of collections: ``/schema`` (OGC API Features Part 5) and ``/queryables`` (Part 3)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Response
from tipg import dependencies
from tipg.collections import Collection, Column
from tipg.factory import OGCFeaturesFactory
from tipg.resources.enums import MediaType
from tipg.resources.response import SchemaJSONResponse

from segwatch.db.analyst import ViewKey
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.ogcapi.collections import ViewCollection
from segwatch.flows.web.ogcapi.items import Requested

SCHEMA_LINK = "http://www.opengis.net/def/rel/ogc/1.0/schema"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: dict[str, dict[str, str]] = {
    "uuid": {"type": "string", "format": "uuid"},
    "timestamp with time zone": {"type": "string", "format": "date-time"},
    "timestamptz": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "boolean": {"type": "boolean"},
    "bool": {"type": "boolean"},
    "smallint": {"type": "integer"},
    "integer": {"type": "integer"},
    "bigint": {"type": "integer"},
    "json": {"type": "object"},
    "jsonb": {"type": "object"},
}
_Output = Annotated[MediaType | None, Depends(dependencies.QueryablesOutputType)]


def add_schema_routes(factory: OGCFeaturesFactory) -> None:
    """Add ``GET /collections/{collectionId}/queryables`` and ``/schema``."""
    content = {
        "description": "A JSON Schema",
        "content": {one.value: {} for one in (MediaType.schemajson, MediaType.html)},
    }

    @factory.router.get(
        "/collections/{collectionId}/queryables",
        responses={200: content, **REFUSALS},
        tags=["OGC Features API"],
    )
    def queryables(request: Request, collection: Requested, output: _Output = None) -> Response:
        """Describe the properties that filters may use."""
        return _respond(factory, request, collection, "queryables", output)

    @factory.router.get(
        "/collections/{collectionId}/schema", responses={200: content, **REFUSALS}, tags=["OGC Features API"]
    )
    def schema(request: Request, collection: Requested, output: _Output = None) -> Response:
        """Describe the properties that features have, and which of them are their id, geometry and time."""
        return _respond(factory, request, collection, "schema", output)


def _respond(
    factory: OGCFeaturesFactory, request: Request, collection: Collection, name: str, output: MediaType | None
) -> Response:
    document = {
        "$schema": _DIALECT,
        "$id": factory.url_for(request, name, collectionId=collection.id),
        "type": "object",
        "title": collection.id,
        "description": collection.description or collection.id,
        "properties": describe_properties(collection, roles=name == "schema"),
        "additionalProperties": False,
    }
    if output is MediaType.html:
        html: Response = factory._create_html_response(
            request, document, template_name="queryables", title=f"{collection.id} {name}"
        )
        return html
    return SchemaJSONResponse(document)


def describe_properties(collection: Collection, *, roles: bool) -> dict[str, dict[str, Any]]:
    """Describe the columns of a collection; ``roles`` says which are id, geometry and time of a feature."""
    key = collection.key if isinstance(collection, ViewCollection) else None
    main = collection.geometry_column.name if collection.geometry_column is not None else ""
    found = {}
    for order, column in enumerate(collection.table_columns):
        made = _describe_geometry(column) if column.is_geometry else _describe_type(column.type)
        made = {
            "title": column.name,
            **({"description": column.description} if column.description else {}),
            **made,
        }
        role = _find_role(column, key, main) if roles else ""
        found[column.name] = {
            **made,
            **({"x-ogc-role": role} if role else {}),
            "x-ogc-propertySeq": order + 1,
        }
    return found


def _describe_geometry(column: Column) -> dict[str, Any]:
    kind = (column.geometry_type or "geometry").lower()
    return {"format": "geometry-any" if kind == "geometry" else f"geometry-{kind}"}


def _describe_type(kind: str) -> dict[str, Any]:
    if kind.endswith("[]"):
        return {"type": "array", "items": _describe_type(kind.removesuffix("[]"))}
    if kind in _TYPES:
        return dict(_TYPES[kind])
    numbers = kind in {"real", "double precision", "float8", "float4", "numeric", "decimal"}
    return {"type": "number" if numbers else "string"}


def _find_role(column: Column, key: ViewKey | None, geometry: str) -> str:
    if column.name == geometry:
        return "primary-geometry"
    if key is None:
        return ""
    if column.name == key.column:
        return "id"
    begin, end = key.compared or (None, None)
    if column.name != begin:
        return "primary-interval-end" if column.name == end else ""
    return "primary-instant" if begin == end else "primary-interval-start"
