"""Addresses of registered files, and what allows to open them. Pure.

A registered source has a name, and one or more *roots*: folders, or single files. ``local://NAME/ROOT/PATH`` is the
address of a file below a root, ``local://NAME/ROOT`` that of a root that is a file. No address holds a path of this
machine, so none is shown or stored. The address of an asset also holds the stamp of the file that was registered
(``?version=STAMP``).

A *grant* allows to open the files of one root, and holds its path: ``local://NAME/ROOT=PATH``. It stands among the
allowed hosts of a scene (see :mod:`segwatch.geo.sources.http.hrefs`). Only the catalog of a registered source gives
grants, those of its own roots; so an address in the item of another catalog opens nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from segwatch.geo.errors import UnsafeHref

SCHEME = "local"
_PREFIX = f"{SCHEME}://"
#: Names of sources, and what is shown to people who gave another one.
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
NAME_RULE = "small letters, digits and hyphens, at most 63"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder or file that was registered."""

    label: str
    """Its name in addresses."""
    path: Path
    """Absolute, without symbolic links."""


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address."""

    source: str
    root: str
    path: str
    """Below the root, with slashes; empty where the root is the file."""
    stamp: str
    """See :func:`make_stamp`; empty = none is given."""


def is_local(url: str) -> bool:
    """Whether a URL is an address of a registered source."""
    return url[: len(_PREFIX)].lower() == _PREFIX


def make_catalog_url(source: str) -> str:
    """Make the URL of a source's catalog."""
    return f"{_PREFIX}{source}"


def parse_catalog_url(url: str) -> str:
    """Return the name of the source whose catalog a URL is."""
    return url[len(_PREFIX) :].strip("/")


def make_address(source: str, root: str, path: str, stamp: str) -> str:
    """Make the address of a file, see the module."""
    below = f"/{quote(path)}" if path else ""
    return f"{_PREFIX}{source}/{quote(root, safe='')}{below}?version={stamp}"


def make_stamp(status: os.stat_result) -> str:
    """Make the stamp of a file: another one where its size or time of change differs."""
    return f"{status.st_mtime_ns}-{status.st_size}"


def parse_address(href: str) -> Address:
    """Take an address apart.

    Raises
    ------
    UnsafeHref
        It is none, or it leads out of its root.
    """
    if not is_local(href):
        raise UnsafeHref(href, "it is no address of a registered file")
    try:
        parts = urlsplit(href)
        stamp = parse_qs(parts.query).get("version", [""])[0]
    except ValueError as error:
        raise UnsafeHref(href, "it is no URL") from error
    root, *below = (unquote(one) for one in parts.path.removeprefix("/").split("/"))
    if not NAME.match(parts.netloc) or any(_is_unsafe(one) for one in (root, *below)):
        raise UnsafeHref(href, "it leads out of the registered folder")
    return Address(parts.netloc, root, "/".join(below), stamp)


def _is_unsafe(part: str) -> bool:
    return part in {"", ".", ".."} or "/" in part or "\\" in part or "\0" in part


def make_grant(source: str, root: Root) -> str:
    """Make the grant to open the files of a root."""
    return f"{_PREFIX}{source}/{quote(root.label, safe='')}={root.path}"


def is_grant(allowed: str) -> bool:
    """Whether an entry of the allowed hosts is a grant."""
    return is_local(allowed)


def find_root(href: str, allowed: Iterable[str]) -> Path:
    """Find the path of the root whose grant is among the allowed hosts.

    Raises
    ------
    UnsafeHref
        There is no such grant, or the address is unsafe.
    """
    address = parse_address(href)
    wanted = f"{_PREFIX}{address.source}/{quote(address.root, safe='')}"
    for one in allowed:
        key, mark, path = one.partition("=")
        if mark and key == wanted:
            return Path(path)
    raise UnsafeHref(
        href.partition("?")[0],
        f"{address.root!r} of source {address.source!r} is not registered here for this catalog; register it on this "
        "machine with segwatch source add",
    )
