"""The settings of an embedded server."""

from __future__ import annotations

import os
import re
from pathlib import Path

_FAST = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"


def render_conf(port: int, socket_dir: Path, *, durable: bool) -> str:
    """Text of the file that ``postgresql.conf`` includes; not durable is for tests, whose data may be lost."""
    lines = [
        "listen_addresses = '127.0.0.1'",
        f"port = {port}",
        f"unix_socket_directories = '{socket_dir}'",
        "password_encryption = 'scram-sha-256'",
        "max_connections = 100",
        f"shared_buffers = {_shared_buffers_mib()}MB",
        "max_wal_size = 4GB",  # a checkpoint makes every page it touches next be logged whole
        "timezone = 'UTC'",
        "log_timezone = 'UTC'",
    ]
    return "\n".join(lines) + "\n" + ("" if durable else _FAST)


def read_port(file: Path) -> int | None:
    """The port in a file with such a text; None where the file is not there."""
    try:
        found = re.search(r"^port = (\d+)$", file.read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return None if found is None else int(found[1])


def _shared_buffers_mib() -> int:
    """A quarter of the memory, as the PostgreSQL manual advises, and no more than the indexes of a long history."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return max(128, min(memory // 4, 1024))
