"""Names of circuits: files that share a circuit fail together. Pure.

| circuit | files |
| --- | --- |
| ``example.org``, ``example.org:8443`` | on this host and port |
| ``source:NAME`` | read with the credentials of this profile |
"""

from __future__ import annotations

from urllib.parse import urlsplit

from segwatch.geo.identity import DEFAULT_PORTS
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.source import Profile


def name_host_circuit(href: str) -> str:
    """Name the circuit of an href's host and port; empty where it has no host."""
    try:
        parts = urlsplit(href)
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").rstrip(".")
    if port is None or port == DEFAULT_PORTS.get(parts.scheme):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def name_credentials_circuit(profile: str) -> str:
    """Name the circuit of the credentials of a profile."""
    return f"source:{profile}"


def list_scene_circuits(scene: Scene, profile: Profile) -> frozenset[str]:
    """List the circuits that must be closed to read a scene with a profile."""
    hrefs = (item.assets.get(name, "") for item in scene.items for name in profile.assets())
    hosts = {name_host_circuit(href) for href in hrefs} - {""}
    return frozenset(hosts | {name_credentials_circuit(profile.name)})
