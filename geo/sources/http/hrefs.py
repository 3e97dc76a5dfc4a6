"""Which hrefs may be opened. A catalog is other people's text: its links are checked, never trusted.

| attack | defence |
| --- | --- |
| ``file:``, ``/vsi...``, ``s3:`` or a bare path | only ``http`` and ``https`` |
| a host inside the network | the host must be named by the profile or be the catalog's own |
| another service of an allowed host (``:22``, ``:5432``) | the port is 443 for https, 80 for http, or one that the \
  operator names with the host |
| ``http://good@evil/`` | no user information in hrefs |
| control characters, blanks, backslashes (parsers disagree on them) | refused |
| a good host that redirects to another one | redirects stay on one host and port, or go up to https there |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

from segwatch.geo.errors import UnsafeHref
from segwatch.geo.text.redaction import public
from segwatch.geo.types.source import Profile

_DEFAULT_PORTS = {"http": 80, "https": 443}
_DISPUTED = re.compile(r"[\x00-\x20\x7f\\]")


def check(href: str, allowed_hosts: Sequence[str]) -> str:
    """The href, when it may be opened.

    Parameters
    ----------
    href
        Absolute http or https URL.
    allowed_hosts
        Host names; ``*.example.org`` allows every host below it. Without a port, http on port 80 and https on port
        443 are allowed; ``host:8443`` allows that port alone, ``host:*`` every port.

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
    if not any(_matches(parts, pattern) for pattern in allowed_hosts):
        known = ", ".join(sorted(filter(None, allowed_hosts))) or "none"
        where = f"host {host}" if port == _DEFAULT_PORTS[parts.scheme] else f"port {port} of host {host}"
        raise UnsafeHref(
            shown(href),
            f"{where} is not allowed (allowed: {known}); add it to the profile's hosts or to SEGWATCH_IMAGERY_HOSTS",
        )
    return href


def readable_hosts(profile: Profile, catalog: str, others: Sequence[str] = ()) -> tuple[str, ...]:
    """Hosts that pixels of a source may come from: those the profile names, the catalog's own, and ``others``."""
    return (*profile_hosts(profile), *own_hosts(catalog), *others)


def profile_hosts(profile: Profile) -> tuple[str, ...]:
    """Hosts that a profile names, and the port of its store where that is one of these hosts."""
    endpoint = profile.access.endpoint if profile.access is not None else ""
    named = {urlsplit(f"//{pattern}").hostname for pattern in profile.hosts}
    inside = endpoint and urlsplit(endpoint).hostname in named
    return (*profile.hosts, *(own_hosts(endpoint) if inside else ()))


def own_hosts(url: str) -> tuple[str, ...]:
    """What a URL that the operator configured allows: its host on the standard ports and on the URL's own port."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ()
    name = f"[{host}]" if ":" in host else host
    return (name,) if port is None else (name, f"{name}:{port}")


def matches(href: str, hosts: Sequence[str]) -> bool:
    """Whether the href's host and port are among these, as in :func:`check`."""
    parts = _split(href)
    return any(_matches(parts, pattern) for pattern in hosts)


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
    try:
        if redirect_hosts and _split(absolute).scheme == "https" and matches(absolute, redirect_hosts):
            return check(absolute, redirect_hosts)
        target = check(absolute, allowed_hosts)
    except UnsafeHref as error:
        raise UnsafeHref(
            shown(source), f"it redirects to {_place(absolute)}, where {error.reason}"
        ) from error
    before, after = _split(source), _split(target)
    upgraded = before.scheme == "http" and after.scheme == "https"
    same_port = _origin(before)[1] == _origin(after)[1] and before.scheme == after.scheme
    if before.hostname != after.hostname or not (same_port or (upgraded and after.port in {None, 443})):
        raise UnsafeHref(shown(source), f"it redirects to {_place(target)}, another host or port")
    return target


def _place(href: str) -> str:
    """Scheme, host and port of what a server sent; the rest of it may be anything, and is not ours to tell."""
    try:
        parts = _split(href)
    except UnsafeHref:
        return "an address that is not valid"
    host, port = _origin(parts)
    return f"{parts.scheme}://{host}:{port}"[:100]


def shown(href: str) -> str:
    """The href as it may be logged: without query (signatures) and user information."""
    return public(href, query=False, max_chars=500)


def _split(href: str) -> SplitResult:
    if _DISPUTED.search(href):
        raise UnsafeHref(shown(href), "it contains blanks, control characters or backslashes")
    try:
        parts = urlsplit(href)
        _ = parts.port  # raises for ports that are no numbers
    except ValueError as error:
        raise UnsafeHref(shown(href), "it is not a URL") from error
    return parts


def _origin(parts: SplitResult) -> tuple[str, int]:
    host = (parts.hostname or "").rstrip(".")
    return host, parts.port if parts.port is not None else _DEFAULT_PORTS.get(parts.scheme, 0)


def _matches(parts: SplitResult, pattern: str) -> bool:
    host, port = _origin(parts)
    name, colon, wanted = pattern.lower().rpartition(":")
    if not colon or pattern.endswith("]"):  # no port; an IPv6 address alone ends with its bracket
        name, wanted = pattern.lower(), str(_DEFAULT_PORTS.get(parts.scheme, 0))
    name = name.strip("[]").rstrip(".")
    if not name or wanted not in {"*", str(port)}:
        return False
    if name.startswith("*."):
        return host.endswith(name[1:]) and host != name[1:]
    return host == name
