"""Which hrefs may be opened. A catalog is other people's text: its links are checked, never trusted.

| attack | defence |
| --- | --- |
| ``file:``, ``/vsi...``, ``s3:`` or a bare path | only ``http`` and ``https`` |
| a host inside the network | the host must be named by the profile or be the catalog's own |
| ``http://good@evil/`` | no user information in hrefs |
| control characters, blanks, backslashes (parsers disagree on them) | refused |
| a good host that redirects to another one | redirects stay on one host and port, or go up to https there |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

from segwatch.geo.addresses import public
from segwatch.geo.errors import UnsafeHref
from segwatch.geo.types import Profile

_DEFAULT_PORTS = {"http": 80, "https": 443}
_DISPUTED = re.compile(r"[\x00-\x20\x7f\\]")


def check(href: str, allowed_hosts: Sequence[str]) -> str:
    """The href, when it may be opened.

    Parameters
    ----------
    href
        Absolute http or https URL.
    allowed_hosts
        Host names, each with an optional ``:port``; ``*.example.org`` allows every host below it.

    Raises
    ------
    UnsafeHref
        It may not be opened; the reason says what would have to change.
    """
    parts = _split(href)
    if parts.scheme not in _DEFAULT_PORTS:
        raise UnsafeHref(shown(href), f"scheme {parts.scheme or 'none'!r} is not http or https")
    if "@" in parts.netloc:
        raise UnsafeHref(
            shown(href), "it carries user information; credentials belong into SEGWATCH_CREDENTIALS"
        )
    host, port = _origin(parts)
    if not host:
        raise UnsafeHref(shown(href), "it names no host")
    if not any(_matches(host, port, pattern) for pattern in allowed_hosts):
        known = ", ".join(sorted(filter(None, allowed_hosts))) or "none"
        raise UnsafeHref(
            shown(href), f"host {host} is not allowed (allowed: {known}); add it to the profile's hosts"
        )
    return href


def readable_hosts(profile: Profile, catalog: str) -> tuple[str, ...]:
    """Hosts that pixels of a source may come from: those the profile names, and the catalog's own."""
    return (*profile.hosts, urlsplit(catalog).hostname or "")


def matches(href: str, hosts: Sequence[str]) -> bool:
    """Whether the href's host is one of these, as in :func:`check`."""
    return any(_matches(*_origin(_split(href)), pattern) for pattern in hosts)


def check_redirect(
    source: str, location: str, allowed_hosts: Sequence[str], redirect_hosts: Sequence[str] = ()
) -> str:
    """Absolute target of a redirect from ``source``, when it may be followed.

    Parameters
    ----------
    redirect_hosts
        Other hosts that may be redirected to, by https.

    Raises
    ------
    UnsafeHref
        The target is another host or port, or may not be opened at all.
    """
    absolute = urljoin(source, location)
    if redirect_hosts and _split(absolute).scheme == "https" and matches(absolute, redirect_hosts):
        return check(absolute, redirect_hosts)
    target = check(absolute, allowed_hosts)
    before, after = _split(source), _split(target)
    upgraded = before.scheme == "http" and after.scheme == "https"
    same_port = _origin(before)[1] == _origin(after)[1] and before.scheme == after.scheme
    if before.hostname != after.hostname or not (same_port or (upgraded and after.port in {None, 443})):
        raise UnsafeHref(shown(target), f"{shown(source)} redirects there, to another host or port")
    return target


def shown(href: str) -> str:
    """The href as it may be logged: without query (signatures) and user information."""
    return public(href, query=False, most=500)


def _split(href: str) -> SplitResult:
    if _DISPUTED.search(href):
        raise UnsafeHref(shown(href), "it contains blanks, control characters or backslashes")
    try:
        parts = urlsplit(href)
        _ = parts.port  # raises for ports that are no numbers
    except ValueError as error:
        raise UnsafeHref(shown(href), f"it is not a URL: {error}") from error
    return parts


def _origin(parts: SplitResult) -> tuple[str, int]:
    host = (parts.hostname or "").rstrip(".")
    return host, parts.port if parts.port is not None else _DEFAULT_PORTS.get(parts.scheme, 0)


def _matches(host: str, port: int, pattern: str) -> bool:
    wanted = urlsplit(f"//{pattern.lower()}")
    name = (wanted.hostname or "").rstrip(".")
    if not name or (wanted.port is not None and wanted.port != port):
        return False
    if name.startswith("*."):
        return host.endswith(name[1:]) and host != name[1:]
    return host == name
