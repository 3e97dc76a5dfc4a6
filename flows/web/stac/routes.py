"""Routes of the STAC API under ``/stac``: STAC API 1.0 core, collections, features and item search."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from sqlalchemy import Connection, Engine
from starlette.datastructures import QueryParams

from segwatch.db import analyst
from segwatch.flows.export import stac_items
from segwatch.flows.export.batches import Rows
from segwatch.flows.export.schema import DETECTIONS, REVIEWED, Layer
from segwatch.flows.export.stac import write_layer
from segwatch.flows.export.stac_items import GEOJSON, JSON, STAC_VERSION, Document, Summary
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.bodies import read_body
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.guards.sending import MAX_RESPONSE_BYTES
from segwatch.flows.web.schemas import GeoJsonResponse
from segwatch.flows.web.stac.addresses import CatalogSite
from segwatch.flows.web.stac.searching import (
    ItemSearch,
    find_page,
    iterate_further,
    make_observation,
    parse_body,
    parse_name,
    parse_query,
)

CONFORMS_TO = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
]
_OPENAPI = "application/vnd.oai.openapi+json;version=3.1"
_MAX_BODY_BYTES = 2**20
_ITEMS_OF_COLLECTION = frozenset({"bbox", "datetime", "limit", "after"})


_TEXTS = {"type": "array", "items": {"type": "string"}}
_SEARCH = {
    "type": "object",
    "properties": {
        "collections": _TEXTS,
        "ids": _TEXTS,
        "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
        "intersects": {"type": "object", "description": "a GeoJSON geometry"},
        "datetime": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1},
        "after": {"type": "string", "description": "from the link to the next page"},
    },
}


_ANSWERS: dict[int | str, dict[str, Any]] = {
    **schemas.describe_content(GEOJSON, "GeoJSON: an item, a page of items, or polygons"),
    **REFUSALS,
}
_DOCUMENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "A document", "content": {JSON: {}}},
    **REFUSALS,
}


def make_router(engine: Engine) -> APIRouter:
    """Make the routes, on the views that the reader of the request may see."""
    routes = APIRouter()
    _add_catalog(routes, engine)
    _add_items(routes, engine)
    _add_layers(routes, engine)
    _add_search(routes, engine)
    return routes


def _locate(request: Request) -> CatalogSite:
    return CatalogSite(f"{str(request.base_url).rstrip('/')}/stac")


def _add_catalog(routes: APIRouter, engine: Engine) -> None:
    @routes.get("", response_class=JSONResponse, responses=_DOCUMENT)
    def read_landing_page(request: Request) -> JSONResponse:
        """Return the root catalog: what the API conforms to, and links to everything else."""
        site = _locate(request)
        with engine.connect() as conn:
            names = [stac_items.name_collection(one) for one in analyst.list_watch_names(conn)]
        return JSONResponse(_make_landing_page(site, names, str(request.base_url).rstrip("/")))

    @routes.get("/conformance", response_class=JSONResponse, responses=_DOCUMENT)
    def list_conformance() -> JSONResponse:
        """List the conformance classes that the STAC API meets."""
        return JSONResponse({"conformsTo": CONFORMS_TO})

    @routes.get("/collections", response_class=JSONResponse, responses=_DOCUMENT)
    def list_collections(request: Request) -> JSONResponse:
        """List the collections: one for each watch."""
        site = _locate(request)
        with engine.connect() as conn:
            rows = analyst.list_catalog_watches(conn)
        links = [
            _link("root", site.root),
            _link("self", f"{site.root}/collections"),
            _link("parent", site.root),
        ]
        return JSONResponse({"collections": [_make_collection(row, site) for row in rows], "links": links})

    @routes.get("/collections/{collection}", response_class=JSONResponse, responses=_DOCUMENT)
    def read_collection(request: Request, collection: str) -> JSONResponse:
        """Return the collection of a watch."""
        site = _locate(request)
        with engine.connect() as conn:
            (row,) = analyst.list_catalog_watches(conn, [site.find_watch(conn, collection)])
        return JSONResponse(_make_collection(row, site))


def _add_items(routes: APIRouter, engine: Engine) -> None:
    @routes.get("/collections/{collection}/items", response_class=GeoJsonResponse, responses=_ANSWERS)
    def list_items(
        request: Request,
        collection: str,
        bbox: str | None = None,
        datetime: str | None = None,
        limit: str | None = None,
        after: str | None = None,
    ) -> GeoJsonResponse:
        """List the items of a watch: observations, the latest first, then its models and reviewed objects."""
        del bbox, datetime, limit, after  # described here, read with those that are not
        site = _locate(request)
        asked = parse_query(request.query_params.multi_items(), _ITEMS_OF_COLLECTION)
        own = f"{site.link_collection(collection)}/items"
        with engine.connect() as conn:
            site.find_watch(conn, collection)
            chosen = ItemSearch(
                (collection,), None, asked.begin, asked.end, asked.ground, asked.limit, asked.after
            )
            found, following = find_page(conn, chosen, site)
        links = [_link("collection", site.link_collection(collection)), *_link_pages(request, own, following)]
        return GeoJsonResponse(_make_page(found, links))

    @routes.get("/collections/{collection}/items/{item}", response_class=GeoJsonResponse, responses=_ANSWERS)
    def read_item(request: Request, collection: str, item: str) -> GeoJsonResponse:
        """Return an item of a watch."""
        site = _locate(request)
        with engine.connect() as conn:
            watch = site.find_watch(conn, collection)
            found = _find_item(conn, watch, item, site)
        if found is None:
            raise HTTPException(404, f"there is no item {item} in {collection}")
        return GeoJsonResponse(found)


def _add_layers(routes: APIRouter, engine: Engine) -> None:
    @routes.get(
        "/collections/{collection}/items/{item}/detections.geojson",
        response_class=GeoJsonResponse,
        responses=_ANSWERS,
    )
    def read_detections(request: Request, collection: str, item: str) -> Response:
        """Return the polygons that the model found in an observation."""
        identity = parse_name(item)
        with engine.connect() as conn:
            watch = _locate(request).find_watch(conn, collection)
            if identity is None or not analyst.is_observed(conn, watch, identity):
                raise HTTPException(404, f"there is no observation {item} in {collection}")
            return _respond(analyst.iter_published_detections(conn, watch, identity), DETECTIONS)

    @routes.get(
        f"/collections/{{collection}}/items/{stac_items.REVIEWED}/objects.geojson",
        response_class=GeoJsonResponse,
        responses=_ANSWERS,
    )
    def read_reviewed(request: Request, collection: str) -> Response:
        """Return the objects of a watch that people reviewed, with the latest verdict about each."""
        with engine.connect() as conn:
            watch = _locate(request).find_watch(conn, collection)
            return _respond(analyst.iter_reviewed(conn, analyst.Selection(watch)), REVIEWED)


def _add_search(routes: APIRouter, engine: Engine) -> None:
    def search(request: Request, asked: ItemSearch) -> tuple[list[Document], str | None]:
        with engine.connect() as conn:
            return find_page(conn, asked, _locate(request))

    @routes.get("/search", response_class=GeoJsonResponse, responses=_ANSWERS)
    def search_items(
        request: Request,
        collections: str | None = None,
        ids: str | None = None,
        bbox: str | None = None,
        intersects: str | None = None,
        datetime: str | None = None,
        limit: str | None = None,
        after: str | None = None,
    ) -> GeoJsonResponse:
        """Search the items of all watches; lists are separated by commas, ``intersects`` is a GeoJSON geometry."""
        del collections, ids, bbox, intersects, datetime, limit, after
        found, following = search(request, parse_query(request.query_params.multi_items()))
        return GeoJsonResponse(_make_page(found, _link_pages(request, _locate(request).search, following)))

    @routes.post(
        "/search",
        response_class=GeoJsonResponse,
        responses=_ANSWERS,
        openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": _SEARCH}}}},
    )
    async def post_search(request: Request) -> GeoJsonResponse:
        """Search the items of all watches by a JSON object of the parameters that GET takes."""
        site = _locate(request)
        asked = parse_body(await read_body(request, _MAX_BODY_BYTES))
        found, following = await run_in_threadpool(search, request, asked)
        links = [_link("root", site.root), {**_link("self", site.search, GEOJSON), "method": "POST"}]
        if following is not None:
            further = {**_link("next", site.search, GEOJSON), "method": "POST"}
            links.append({**further, "body": {"after": following}, "merge": True})
        return GeoJsonResponse(_make_page(found, links))


def _respond(parts: Iterable[Rows], layer: Layer) -> Response:
    with tempfile.TemporaryDirectory(prefix="segwatch-stac-") as folder:
        target = Path(folder) / "layer.geojson"
        write_layer(parts, layer, target)
        if target.stat().st_size > MAX_RESPONSE_BYTES:
            raise HTTPException(
                413,
                f"these polygons exceed {MAX_RESPONSE_BYTES // 2**20} MiB; read them in pages from /ogc/collections/, "
                "or with: segwatch export --format stac",
            )
        return Response(target.read_bytes(), media_type=GEOJSON)


def _link(rel: str, href: str, kind: str = JSON, **more: Any) -> Document:
    return {"rel": rel, "href": href, "type": kind, **more}


def _link_pages(request: Request, own: str, following: str | None) -> list[Document]:
    site, given = _locate(request), dict(request.query_params)
    query = f"?{request.url.query}" if request.url.query else ""
    links = [_link("root", site.root), _link("self", own + query, GEOJSON)]
    if following is not None:
        links.append(
            _link("next", f"{own}?{QueryParams({**given, 'after': following})}", GEOJSON, method="GET")
        )
    return links


def _make_page(items: Sequence[Document], links: Iterable[Document]) -> Document:
    return {
        "type": "FeatureCollection",
        "features": list(items),
        "links": list(links),
        "numberReturned": len(items),
    }


def _make_landing_page(site: CatalogSite, collections: Sequence[str], server: str) -> Document:
    search = [_link("search", site.search, GEOJSON, method=method) for method in ("GET", "POST")]
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": "segwatch",
        "title": "segwatch",
        "description": "What the watches observed, with the polygons found in each scene.",
        "conformsTo": CONFORMS_TO,
        "links": [
            _link("root", site.root),
            _link("self", site.root),
            _link("conformance", f"{site.root}/conformance"),
            _link("data", f"{site.root}/collections"),
            *search,
            _link("service-desc", f"{server}/openapi.json", _OPENAPI),
            *(_link("child", site.link_collection(one)) for one in collections),
        ],
    }


def _make_collection(row: dict[str, Any], site: CatalogSite) -> Document:
    name = stac_items.name_collection(row["watch"])
    own = site.link_collection(name)
    held = Summary(
        name, row["instruction"], row["targets"], (row["west"], row["south"], row["east"], row["north"]),
        row["begin"] or row["starts_at"], row["end"], row["models"] or (), row["model"],
    )  # fmt: skip
    links = [
        _link("root", site.root),
        _link("parent", site.root),
        _link("self", own),
        _link("items", f"{own}/items", GEOJSON),
    ]
    return stac_items.make_collection(held, links)


def _find_item(conn: Connection, watch: str, name: str, site: CatalogSite) -> Document | None:
    identity: UUID | None = parse_name(name)
    if identity is None:
        return next((one for one in iterate_further(conn, [watch], site) if one["id"] == name), None)
    rows, _ = analyst.list_catalog_page(conn, analyst.CatalogSearch((watch,), (identity,)), 1)
    made = [make_observation(row, site) for row in rows]
    return next((one for one in made if one["id"] == name), None)
