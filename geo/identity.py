"""What names a catalog, and what of a link is its place. Pure: no network.

STAC ids are unique within one collection of one catalog and nowhere else. So everything that is stored of an item
begins with the identity of the catalog that it was found in.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from segwatch.geo.text.redaction import public
from segwatch.geo.types.watch import Watch

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: A search, a collection or its items, given in the place of the API's root: the same catalog.
_WITHIN_AN_API = re.compile(r"/(search|collections(/[^/]+(/items)?)?)$")


def catalog_identity(url: str, name: str = "") -> str:
    """Identity of a catalog: the name that its user gave it, else its address.

    A name keeps the identity of a catalog that moves. Without one, the address counts as far as it says where the
    catalog is: scheme and host in lower case, no default port, user information, query, fragment or slash at the end,
    and no secret in the path, as strangers see it. The address of an API's search, or of one of its collections, is
    that of the API: items found through either are the same items. ``http`` and ``https`` are two addresses.

    Parameters
    ----------
    url
        Of an API's root, or of a file of a static catalog.
    name
        ``source.catalog_name`` of a watch; empty = none was given.
    """
    if name:
        return name
    found = place(public(url)).rstrip("/")
    shorter = _WITHIN_AN_API.sub("", found)
    return shorter.rstrip("/") if urlsplit(shorter).netloc else found


def identity_of(watch: Watch) -> str:
    """Identity of the catalog that a watch looks into."""
    return catalog_identity(watch.catalog, watch.catalog_name)


def place(href: str) -> str:
    """Where a link points, without what changes when it is signed anew: its query, and how its host is written."""
    try:
        parts = urlsplit(href.strip())
        port = parts.port
    except ValueError:
        return href
    scheme = parts.scheme.lower()
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    shown_port = "" if port in {None, _DEFAULT_PORTS.get(scheme)} else f":{port}"
    return urlunsplit((scheme, f"{host}{shown_port}", parts.path, "", ""))
