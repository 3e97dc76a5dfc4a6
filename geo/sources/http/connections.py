"""What the remote files of one scene share: HTTP client, threads, credentials, block cache and deadline."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from segwatch.geo.sources.http import egress
from segwatch.geo.sources.http.block_cache import BlockCache
from segwatch.geo.sources.http.credentials import Credentials, Signer
from segwatch.geo.types.source import Profile

_MAX_CONNECTIONS = 8
#: Parts of one file that are requested concurrently.
_MAX_CONCURRENT_PARTS = 6
_READ_SECONDS, _CONNECT_SECONDS = 30.0, 10.0


@dataclass(frozen=True, slots=True)
class SceneConnections:
    """What the remote files of one scene share."""

    client: httpx.Client
    """Does not follow redirects: each target is checked first."""
    threads: ThreadPoolExecutor
    signer: Signer
    cache: BlockCache = field(default_factory=BlockCache)
    until: float = math.inf
    """Deadline for reading, on the monotonic clock."""


@contextmanager
def open_connections(
    profile: Profile, credentials: Credentials, seconds: float = math.inf
) -> Iterator[SceneConnections]:
    """Open what the files of one scene share.

    Parameters
    ----------
    seconds
        Time limit for reading; attempts and waits end then.

    Raises
    ------
    segwatch.geo.errors.AccessDenied
        The profile needs credentials that are missing.
    """
    # these libraries log whole URLs with signatures, and headers
    for name in ("httpx", "httpcore", "botocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    limits = httpx.Limits(max_connections=_MAX_CONNECTIONS)
    timeout = httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
    with (
        egress.create_client(follow_redirects=False, timeout=timeout, limits=limits) as client,
        ThreadPoolExecutor(_MAX_CONCURRENT_PARTS, thread_name_prefix="range") as threads,
    ):
        yield SceneConnections(
            client, threads, Signer(profile, credentials, client), until=time.monotonic() + seconds
        )
