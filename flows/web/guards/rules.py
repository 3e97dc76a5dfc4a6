"""Which paths there are and what they ask of a reader: one table, and what is not in it is not answered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from segwatch.db.tokens import Scope


class Open(StrEnum):
    """What is answered to anyone."""

    ANYONE = "anyone"


ANYONE = Open.ANYONE
Wanted = Scope | Open
_GET = "GET"
#: Of other applications that are mounted here, ``{rest:path}`` is all that lies below.
RULES: dict[str, dict[str, Wanted]] = {
    "/": {_GET: Scope.READ},
    "/healthz": {_GET: ANYONE},
    "/readyz": {_GET: ANYONE},
    "/login": {_GET: ANYONE, "POST": ANYONE},
    "/logout": {"POST": ANYONE},
    # the page's own scripts and styles, the same for everyone
    "/static/{rest:path}": {_GET: ANYONE},
    "/openapi.json": {_GET: Scope.READ},
    "/api/watches": {_GET: Scope.READ},
    "/api/scenes": {_GET: Scope.READ},
    "/api/unused": {_GET: Scope.READ},
    "/api/tiles/{z}/{x}/{y}.mvt": {_GET: Scope.READ},
    "/api/reviews": {_GET: Scope.READ, "POST": Scope.REVIEW},
    "/api/alerts": {_GET: Scope.READ},
    "/api/alerts/{alert_id}/marks": {"POST": Scope.REVIEW},
    # who sends events signs them, or has a token for it: the route itself looks
    "/events": {"POST": Scope.EVENTS},
    "/feeds/{watch}/atom.xml": {_GET: Scope.READ},
    "/feeds/cap/{alert_id}.xml": {_GET: Scope.READ},
    "/imagery/{rest:path}": {_GET: Scope.READ},
    "/ogc": {_GET: Scope.READ},
    "/ogc/{rest:path}": {_GET: Scope.READ},
}


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not passed on."""

    status: int
    words: str


def wanted(method: str, path: str) -> Wanted | Refused:
    """What a request must be allowed to do."""
    for pattern, methods in _COMPILED:
        if pattern.fullmatch(path):
            found = methods.get(_GET if method == "HEAD" else method)
            return found if found is not None else Refused(405, "Method Not Allowed")
    return Refused(404, "Not Found")


def _compiled(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]*\})", template)
    return re.compile("".join(_part(one) for one in parts), re.DOTALL)


def _part(one: str) -> str:
    if not one.startswith("{"):
        return re.escape(one)
    return ".*" if one.endswith(":path}") else "[^/]+"


_COMPILED = tuple((_compiled(template), methods) for template, methods in RULES.items())
