"""Table of all paths and the scope that each requires; paths that are not in it get 404."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from segwatch.db.tokens import Scope


class Public(StrEnum):
    """Marks paths that need no credentials."""

    ANYONE = "anyone"


ANYONE = Public.ANYONE
Requirement = Scope | Public
_GET = "GET"
#: Required scope by path and method; ``{rest:path}`` stands for everything below a mounted application.
RULES: dict[str, dict[str, Requirement]] = {
    "/": {_GET: Scope.READ},
    "/assess": {_GET: Scope.READ},
    "/operations": {_GET: Scope.READ},
    "/healthz": {_GET: ANYONE},
    "/readyz": {_GET: ANYONE},
    "/metrics": {_GET: Scope.METRICS},
    "/login": {_GET: ANYONE, "POST": ANYONE},
    "/logout": {"POST": ANYONE},
    # the page's own scripts and styles, the same for everyone
    "/static/{rest:path}": {_GET: ANYONE},
    "/openapi.json": {_GET: Scope.READ},
    "/api/watches": {_GET: Scope.READ, "POST": Scope.OPERATE},
    "/api/watches/preview": {"POST": Scope.OPERATE},
    "/api/watches/{name}/download": {_GET: Scope.READ},
    "/api/scenes": {_GET: Scope.READ},
    "/api/unused": {_GET: Scope.READ},
    "/api/background": {_GET: Scope.READ},
    "/api/search": {_GET: Scope.READ},
    "/api/why-not": {_GET: Scope.READ},
    "/api/tiles/{z}/{x}/{y}.mvt": {_GET: Scope.READ},
    "/api/objects": {_GET: Scope.READ},
    "/api/compare": {_GET: Scope.READ},
    "/api/compare/{z}/{x}/{y}.mvt": {_GET: Scope.READ},
    "/api/objects/{track_id}": {_GET: Scope.READ},
    "/api/objects/{track_id}/history": {_GET: Scope.READ},
    "/api/reviews": {_GET: Scope.READ, "POST": Scope.REVIEW},
    "/api/alerts": {_GET: Scope.READ},
    "/api/accuracy": {_GET: Scope.READ},
    # samples hide what the map says until they are labelled
    "/api/samples": {_GET: Scope.REVIEW},
    "/api/samples/{sample_id}/labels": {"POST": Scope.REVIEW},
    "/api/alerts/marks": {"POST": Scope.ACKNOWLEDGE},
    "/api/alerts/{alert_id}/marks": {"POST": Scope.ACKNOWLEDGE},
    "/api/events": {_GET: Scope.READ},
    "/api/coverage": {_GET: Scope.READ},
    "/api/operations": {_GET: Scope.READ},
    "/api/operations/{watch}/{action}": {"POST": Scope.OPERATE},
    # readers without the scope are told that they may not
    "/api/sources": {_GET: Scope.READ},
    "/api/catalog/check": {"POST": Scope.OPERATE},
    # everyone sees their own
    "/api/trials": {_GET: Scope.OPERATE, "POST": Scope.OPERATE},
    "/api/trials/{trial_id}": {_GET: Scope.OPERATE, "DELETE": Scope.OPERATE},
    "/api/trials/{trial_id}/picture": {_GET: Scope.OPERATE},
    "/asyncapi.json": {_GET: Scope.READ},
    # events and announcements carry a token or a signature; the route itself checks the signature
    "/events": {"POST": Scope.EVENTS},
    "/announcements": {"POST": Scope.ANNOUNCE},
    "/feeds/{watch}/atom.xml": {_GET: Scope.READ},
    "/feeds/cap/{alert_id}.xml": {_GET: Scope.READ},
    "/imagery/{rest:path}": {_GET: Scope.READ},
    "/stac": {_GET: Scope.READ},
    "/stac/search": {_GET: Scope.READ, "POST": Scope.READ},
    "/stac/{rest:path}": {_GET: Scope.READ},
    "/ogc": {_GET: Scope.READ},
    "/ogc/{rest:path}": {_GET: Scope.READ},
}


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Why there is no route for a request."""

    status: int
    words: str


def find_rule(method: str, path: str) -> Requirement | NoRoute:
    """Find what a request requires of its reader."""
    for pattern, methods in _COMPILED:
        if pattern.fullmatch(path):
            found = methods.get(_GET if method == "HEAD" else method)
            return found if found is not None else NoRoute(405, "Method Not Allowed")
    return NoRoute(404, "Not Found")


def _compile(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]*\})", template)
    return re.compile("".join(_compile_part(one) for one in parts), re.DOTALL)


def _compile_part(one: str) -> str:
    if not one.startswith("{"):
        return re.escape(one)
    return ".*" if one.endswith(":path}") else "[^/]+"


_COMPILED = tuple((_compile(template), methods) for template, methods in RULES.items())
