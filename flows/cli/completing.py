"""Values that the shell completes: names of watches, profiles and tokens, ids of alerts and objects.

Completion starts nothing and prints nothing: where the database is away, there is nothing to complete. It imports
neither SQLAlchemy nor the settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


def complete_watches(incomplete: str) -> Iterable[str]:
    """Complete the name of a watch."""
    from segwatch.db import names

    return _ask(names.list_watches, incomplete)


def complete_tokens(incomplete: str) -> Iterable[str]:
    """Complete the name of a token."""
    from segwatch.db import names

    return _ask(names.list_tokens, incomplete)


def complete_alerts(incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the id of an alert."""
    from segwatch.db import names

    return _ask(names.list_alerts, incomplete)


def complete_objects(incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the id of an object."""
    from segwatch.db import names

    return _ask(names.list_objects, incomplete)


def complete_profiles(incomplete: str) -> Iterable[str]:
    """Complete the name of a source profile."""
    from importlib import resources

    folder = resources.files("segwatch.geo.sources") / "profiles_data"
    found = (Path(one.name).stem for one in folder.iterdir() if one.name.endswith(".toml"))
    return sorted(one for one in found if one.startswith(incomplete))


def _ask(read: Callable[[str, str], list[Any]], incomplete: str) -> list[Any]:
    """Ask the database; whatever fails, there is nothing to complete."""
    with suppress(Exception):
        return read(_find_url(), incomplete)
    return []


def _find_url() -> str:
    """Find the ledger as the commands do: the operator's server, else the cluster of the home folder."""
    if url := os.environ.get("SEGWATCH_DATABASE_URL"):
        return url
    from segwatch.db.embedded.cluster import Cluster

    return (
        Cluster(Path(os.environ.get("SEGWATCH_HOME", ".segwatch")).expanduser())
        .info()
        .url_for("segwatch_worker")
    )
