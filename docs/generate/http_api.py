"""Page of the HTTP interface, from the web application's OpenAPI documents and its table of access rules."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from docs.generate.markdown import NOTICE, code, file_of, plain, table
from segwatch.flows.web.application import create_app
from segwatch.flows.web.guards.rules import RULES
from segwatch.flows.web.ogcapi import application

_INTRODUCTION = """# HTTP API

`segwatch serve` answers these paths. `/openapi.json` is the OpenAPI document of the JSON API, `/ogc/api` the one of OGC
API, `/asyncapi.json` the AsyncAPI document of messages. [Use the API](../how-to/use-the-api.md) has examples. *Who* is
the scope that a token needs when the server asks for tokens (see [access](../how-to/access.md)). Which scope a path
needs is decided in `flows/web/guards/rules.py`; a path that is missing there gets 404.

Errors are problem details (RFC 9457, `application/problem+json`). Every client and every token has a rate limit (429
with `Retry-After`). A server that is busy or whose database does not answer gives 503 with `Retry-After`.

"""
_OGC = """
## OGC API Features and Tiles

Every view of the schema `watch` is a collection: see [views](views.md). Filters are CQL2 over a collection's columns.
Built on tipg in `flows/web/ogcapi/application.py`.

"""
_NOWHERE = "postgresql+psycopg://nobody@127.0.0.1/nothing"


def page() -> str:
    """Return the page. Nothing is connected: the application is only described."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app = create_app(_NOWHERE)
        own, ogc = app.openapi(), application.make_app().openapi()
    files = dict(_files(app.routes))
    rows = [
        (code(f"{method.upper()} {path}"), _who(path, method), _words(what), code(files.get(path, "")))
        for path, methods in sorted(own["paths"].items())
        for method, what in methods.items()
        if method != "head"
    ]
    other = [
        (code(f"{method.upper()} /ogc{path}"), _summary(what))
        for path, methods in sorted(ogc["paths"].items())
        for method, what in methods.items()
        if method != "head"
    ]
    return (
        NOTICE
        + _INTRODUCTION
        + table(("request", "who", "what", "file"), rows)
        + _OGC
        + table(("request", "what"), other)
    )


def _files(routes: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Path of every route, with the file of its function; routers that are included keep their own routes."""
    for one in routes:
        inner = getattr(one, "original_router", None)
        if inner is not None:
            yield from _files(inner.routes, prefix + one.include_context.prefix)
        elif getattr(one, "endpoint", None) is not None:
            yield prefix + one.path.replace(":path", ""), file_of(one.endpoint)


def _who(path: str, method: str) -> str:
    rules = RULES["/imagery/{rest:path}"] if path.startswith("/imagery/") else RULES.get(path, {})
    return str(rules.get(method.upper(), ""))


def _words(what: dict[str, Any]) -> str:
    names = [code(one["name"]) for one in what.get("parameters", ()) if one["in"] == "query"]
    given = f" Parameters: {', '.join(names)}." if names else ""
    return plain(what.get("description")) + given


def _summary(what: dict[str, Any]) -> str:
    return plain(what.get("description")) or str(what.get("summary", ""))
