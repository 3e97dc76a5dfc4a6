"""Decide which hrefs may be opened. Links of foreign catalogs are never trusted.

| attack | defence |
| --- | --- |
| ``file:``, ``/vsi...``, ``s3:`` or a bare path | only ``http`` and ``https`` |
| ``local:`` in an item of another catalog | only the catalog of a registered source gives grants, see \
  :mod:`segwatch.geo.local_addresses` |
| a host inside the network | only hosts of the profile and the catalog's own |
| another service of an allowed host (``:22``, ``:5432``) | only ports 443 (https) and 80 (http), or one that the \
  operator lists with the host |
| ``http://good@evil/`` | no user information in hrefs |
| control characters, spaces, backslashes (parsers disagree on them) | refused |
| a redirect to another host | redirects stay on one host and port, or upgrade it to https |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

from segwatch.geo.errors import UnsafeHref
from segwatch.geo.identity import DEFAULT_PORTS
from segwatch.geo.local_addresses import find_root, is_grant, is_local
from segwatch.geo.sources.local import registry
from segwatch.geo.text.redaction import to_public_url
from segwatch.geo.types.source import Profile

"""Port by scheme."""
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")


def join_href(base: str, href: str) -> str:
    """Resolve an href against its base (RFC 3986); one that is not a URL stays as it is, and is refused when opened."""
    try:
        return urljoin(base, href)
    except ValueError:
        return href


def check(href: str, allowed_hosts: Sequence[str]) -> str:
    """Return the href unchanged if it may be opened.

    Parameters
    ----------
    href
        Absolute http or https URL, or the address of a registered file.
    allowed_hosts
        Host names; ``*.example.org`` allows all subdomains. Without a port, http on port 80 and https on port 443 are
        allowed; ``host:8443`` allows only that port, ``host:*`` all ports. Grants allow registered files.

    Raises
    ------
    UnsafeHref
        The href must not be opened; the reason tells what to change.
    """
    parts = _split(href)
    if is_local(href):
        find_root(href, allowed_hosts)
        return href
    if parts.scheme not in DEFAULT_PORTS:
        raise UnsafeHref(redact_href(href), f"scheme {parts.scheme or 'none'!r} is not http or https")
    if "@" in parts.netloc:
        raise UnsafeHref(redact_href(href), "it contains user information; set SEGWATCH_CREDENTIALS instead")
    host, port = _origin(parts)
    if not host:
        raise UnsafeHref(redact_href(href), "it has no host")
    if not any(_matches(parts, pattern) for pattern in allowed_hosts):
        known = ", ".join(sorted(one for one in allowed_hosts if one and not is_grant(one))) or "none"
        where = f"host {host}" if port == DEFAULT_PORTS[parts.scheme] else f"port {port} of host {host}"
        raise UnsafeHref(
            redact_href(href),
            f"{where} is not allowed (allowed: {known}); add it to the profile's hosts or to SEGWATCH_IMAGERY_HOSTS",
        )
    return href


def list_readable_hosts(profile: Profile, catalog: str, others: Sequence[str] = ()) -> tuple[str, ...]:
    """List the hosts that assets may be read from: those of the profile, the catalog's own, and ``others``.

    The catalog of a registered source has no host; its grants are listed.
    """
    own = registry.list_grants(catalog) if is_local(catalog) else list_url_hosts(catalog)
    return (*list_profile_hosts(profile), *own, *others)


def list_profile_hosts(profile: Profile) -> tuple[str, ...]:
    """List the hosts of a profile, including the port of its S3 endpoint where that is one of these hosts."""
    endpoint = profile.access.endpoint if profile.access is not None else ""
    named = {urlsplit(f"//{pattern}").hostname for pattern in profile.hosts}
    inside = endpoint and urlsplit(endpoint).hostname in named
    return (*profile.hosts, *(list_url_hosts(endpoint) if inside else ()))


def list_url_hosts(url: str) -> tuple[str, ...]:
    """List the hosts that a configured URL allows: its host on the standard ports and on the URL's own port."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ()
    name = f"[{host}]" if ":" in host else host
    return (name,) if port is None else (name, f"{name}:{port}")


def is_allowed_host(href: str, hosts: Sequence[str]) -> bool:
    """Whether the href's host and port are among these hosts, as in :func:`check`."""
    parts = _split(href)
    return not is_local(href) and any(_matches(parts, pattern) for pattern in hosts)


def check_redirect(
    source: str, location: str, allowed_hosts: Sequence[str], redirect_hosts: Sequence[str] = ()
) -> str:
    """Return the absolute target of a redirect if it may be followed.

    Parameters
    ----------
    source
        URL that redirects.
    location
        ``Location`` header.
    redirect_hosts
        Other hosts that it may redirect to, https only.

    Raises
    ------
    UnsafeHref
        The target is on another host or port, or must not be opened.
    """
    absolute = join_href(source, location)
    try:
        if (
            redirect_hosts
            and _split(absolute).scheme == "https"
            and is_allowed_host(absolute, redirect_hosts)
        ):
            return check(absolute, redirect_hosts)
        target = check(absolute, allowed_hosts)
    except UnsafeHref as error:
        raise UnsafeHref(
            redact_href(source), f"it redirects to {_redact_target(absolute)}, where {error.reason}"
        ) from error
    before, after = _split(source), _split(target)
    upgraded = before.scheme == "http" and after.scheme == "https"
    same_port = _origin(before)[1] == _origin(after)[1] and before.scheme == after.scheme
    if before.hostname != after.hostname or not (same_port or (upgraded and after.port in {None, 443})):
        raise UnsafeHref(
            redact_href(source), f"it redirects to {_redact_target(target)}, another host or port"
        )
    return target


def _redact_target(href: str) -> str:
    """Scheme, host and port of a redirect target; the rest may contain secrets."""
    try:
        parts = _split(href)
    except UnsafeHref:
        return "an invalid URL"
    host, port = _origin(parts)
    return f"{parts.scheme}://{host}:{port}"[:100]


def redact_href(href: str) -> str:
    """Return the href without user information, query and fragment, for logs and messages."""
    return to_public_url(href, query=False, max_chars=500)


def _split(href: str) -> SplitResult:
    if _AMBIGUOUS.search(href):
        raise UnsafeHref(redact_href(href), "it contains spaces, control characters or backslashes")
    try:
        parts = urlsplit(href)
        _ = parts.port  # raises for an invalid port
    except ValueError as error:
        raise UnsafeHref(redact_href(href), "it is not a URL") from error
    return parts


def _origin(parts: SplitResult) -> tuple[str, int]:
    host = (parts.hostname or "").rstrip(".")
    return host, parts.port if parts.port is not None else DEFAULT_PORTS.get(parts.scheme, 0)


def _matches(parts: SplitResult, pattern: str) -> bool:
    host, port = _origin(parts)
    name, colon, wanted = pattern.lower().rpartition(":")
    if not colon or pattern.endswith("]"):  # no port; an IPv6 address alone ends with its bracket
        name, wanted = pattern.lower(), str(DEFAULT_PORTS.get(parts.scheme, 0))
    name = name.strip("[]").rstrip(".")
    if not name or wanted not in {"*", str(port)}:
        return False
    if name.startswith("*."):
        return host.endswith(name[1:]) and host != name[1:]
    return host == name
