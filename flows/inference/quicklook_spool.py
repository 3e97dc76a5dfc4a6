"""Quicklooks that their store did not take, kept in the home folder until it does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

_log = logging.getLogger(__name__)
#: What an outage may take of the disk; what comes after that is lost, and said to be.
MAX_FILES, MAX_BYTES = 10_000, 512 * 2**20
#: Sent with one quicklook, so that a store that is back is not flooded.
_AT_ONCE = 16


def keep(folder: Path, path: str, content: bytes) -> bool:
    """Keep a file until it can be stored; False where it is lost, as there is no room for it."""
    files = list(_kept(folder))
    if len(files) >= MAX_FILES or sum(one.stat().st_size for one in files) + len(content) > MAX_BYTES:
        _log.warning("%s is lost: %s is full", path, folder)
        return False
    try:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.part")
        unfinished.write_bytes(content)
        unfinished.replace(target)
    except OSError as error:
        _log.warning("%s is lost: %s", path, error)
        return False
    return True


def send(folder: Path, store: Callable[[str, bytes], object]) -> int:
    """Store some of what was kept; how many. It stops at the first that ``store`` does not take (gives None)."""
    sent = 0
    for file in _kept(folder):
        if sent >= _AT_ONCE:
            break
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue  # another worker of this machine was first
        if store(file.relative_to(folder).as_posix(), content) is None:
            break
        file.unlink(missing_ok=True)
        sent += 1
    return sent


def _kept(folder: Path) -> Iterator[Path]:
    return (one for one in sorted(folder.glob("*/*")) if one.is_file() and not one.name.startswith("."))
