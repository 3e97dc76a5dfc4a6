"""Names of circuits: what one outage takes away together. Pure.

| name | what shares it |
| --- | --- |
| ``example.org``, ``example.org:8443`` | files on one host and port |
| ``source:NAME`` | files that are read with the credentials of one profile |
"""

from __future__ import annotations

from urllib.parse import urlsplit

from segwatch.geo.types.scene import Scene
from segwatch.geo.types.source import Profile

_DEFAULT_PORTS = {"http": 80, "https": 443}


def of_host(href: str) -> str:
    """Circuit of the host and port that an href names; empty where it names none."""
    try:
        parts = urlsplit(href)
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").rstrip(".")
    if port is None or port == _DEFAULT_PORTS.get(parts.scheme):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def of_credentials(profile: str) -> str:
    """Circuit of the credentials of a profile, by its name."""
    return f"source:{profile}"


def of_scene(scene: Scene, profile: Profile) -> frozenset[str]:
    """Every circuit that must be closed for a profile to read a scene."""
    hrefs = (item.assets.get(name, "") for item in scene.items for name in profile.assets())
    hosts = {of_host(href) for href in hrefs} - {""}
    return frozenset(hosts | {of_credentials(profile.name)})
