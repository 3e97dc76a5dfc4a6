"""Keep quicklooks that could not be stored in the home folder until the store works again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

_log = logging.getLogger(__name__)
#: Disk space for one outage; further quicklooks are lost, with a warning.
MAX_FILES, MAX_BYTES = 10_000, 512 * 2**20
#: Kept quicklooks to send with each new one, so that a recovering store is not flooded.
_MAX_SENT_AT_ONCE = 16


def keep(folder: Path, path: str, content: bytes) -> bool:
    """Keep a file until it can be stored; False when there is no room and it is lost."""
    files = list(_list_kept(folder))
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
    """Send some of the kept files, until ``store`` returns None for one; return how many were stored."""
    sent = 0
    for file in _list_kept(folder):
        if sent >= _MAX_SENT_AT_ONCE:
            break
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue  # another worker of this machine sent it
        if store(file.relative_to(folder).as_posix(), content) is None:
            break
        file.unlink(missing_ok=True)
        sent += 1
    return sent


def _list_kept(folder: Path) -> Iterator[Path]:
    return (one for one in sorted(folder.glob("*/*")) if one.is_file() and not one.name.startswith("."))
