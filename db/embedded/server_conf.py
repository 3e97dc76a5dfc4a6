"""Settings of an embedded server."""

from __future__ import annotations

import os
import re
from pathlib import Path

#: Little is cached and logged, because such a cluster may lie in memory.
_FAST = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nshared_buffers = 128MB\nmax_wal_size = 256MB\n"


def render_conf(port: int, socket_dir: Path, *, durable: bool) -> str:
    """Render the file that ``postgresql.conf`` includes; ``durable=False`` is for tests whose data may be lost."""
    lines = [
        "listen_addresses = '127.0.0.1'",
        f"port = {port}",
        f"unix_socket_directories = '{socket_dir}'",
        "password_encryption = 'scram-sha-256'",
        "max_connections = 100",
        f"shared_buffers = {_shared_buffers_mib()}MB",
        "max_wal_size = 4GB",  # fewer checkpoints, after which whole pages are logged again
        "jit = off",  # compiling the views takes longer than running them
        "timezone = 'UTC'",
        "log_timezone = 'UTC'",
    ]
    return "\n".join(lines) + "\n" + ("" if durable else _FAST)


def read_port(file: Path) -> int | None:
    """Read the port from such a file; None if it does not exist."""
    try:
        found = re.search(r"^port = (\d+)$", file.read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return None if found is None else int(found[1])


def _shared_buffers_mib() -> int:
    """Compute a quarter of the memory, as the PostgreSQL manual advises, at most 1 GiB: enough for the indexes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return max(128, min(memory // 4, 1024))
