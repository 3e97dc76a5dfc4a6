"""Identity of catalogs, links and models. Pure: no network.

STAC ids are unique only within one collection of one catalog. So the ledger identifies an item by its catalog first.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from segwatch.geo.text.redaction import to_public_url
from segwatch.geo.types.watch import Watch

#: Names of the models that ship with segwatch to show how it works; they are not made for decisions.
DEMONSTRATION_MODELS = ("segearth-r2-tiny",)
DEFAULT_PORTS = {"http": 80, "https": 443}
#: Paths of an API that stand for its root: its search, a collection, the items of a collection.
_API_SUBPATH = re.compile(r"/(search|collections(/[^/]+(/items)?)?)$")


def is_demonstration(model: str | None) -> bool:
    """Return whether a model, by its name and version, is one that ships with segwatch, see ``DEMONSTRATION_MODELS``.

    ``segwatch.is_demonstration`` in SQL answers the same.
    """
    return model is not None and model.partition("@")[0] in DEMONSTRATION_MODELS


def identify_catalog(url: str, name: str = "") -> str:
    """Return the identity of a catalog: the name that its user gave it, else its normalized URL.

    A name keeps the identity of a catalog that moves. A URL is normalized to scheme and host in lower case, without
    default port, user information, query, fragment, trailing slash or secrets in the path. The URL of an API's search
    or of a collection counts as that of the API, because both give the same items. ``http`` and ``https`` differ.

    Parameters
    ----------
    url
        Root of an API, or a file of a static catalog.
    name
        ``source.catalog_name`` of the watch; empty = none.
    """
    if name:
        return name
    normalized = normalize_link(to_public_url(url)).rstrip("/")
    root = _API_SUBPATH.sub("", normalized)
    return root.rstrip("/") if urlsplit(root).netloc else normalized


def identify_watch_catalog(watch: Watch) -> str:
    """Return the identity of the catalog of a watch."""
    return identify_catalog(watch.catalog, watch.catalog_name)


def normalize_link(href: str) -> str:
    """Normalize a link so that differently signed links to one file are equal: no query, host in lower case."""
    try:
        parts = urlsplit(href.strip())
        port = parts.port
    except ValueError:
        return href
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    shown_port = "" if port in {None, DEFAULT_PORTS.get(scheme)} else f":{port}"
    return urlunsplit((scheme, f"{host}{shown_port}", parts.path, "", ""))
