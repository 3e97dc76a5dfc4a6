"""The folder or bucket where quicklooks and reports are stored: ``SEGWATCH_EVIDENCE``."""

from __future__ import annotations

import functools
import logging
import os
import stat
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from segwatch.db.errors import describe_error
from segwatch.flows.config.settings.imagery import QuicklookSettings

_log = logging.getLogger(__name__)
#: Why nothing is stored where :func:`find_storage` returns None.
NO_STORAGE = (
    "the ledger is on an external server (SEGWATCH_DATABASE_URL) and no storage is configured that outlasts a run; set "
    "SEGWATCH_EVIDENCE to a folder or bucket that all workers reach, or SEGWATCH_HOME"
)


def store_file(settings: QuicklookSettings, path: str, content: bytes) -> str | None:
    """Store a file below ``SEGWATCH_EVIDENCE``, replacing an earlier one; return its address, or None on failure."""
    if not has_storage(settings):
        return None
    try:
        files, root = fsspec.url_to_fs(find_storage(settings))
        if isinstance(files, LocalFileSystem):
            # hidden from other users of the machine, unless somebody made the folder for them
            Path(root).mkdir(0o700, parents=True, exist_ok=True)
        files.makedirs(f"{root}/{path.rpartition('/')[0]}", exist_ok=True)
        files.pipe_file(f"{root}/{path}", content)
        if isinstance(files, LocalFileSystem):
            _share(Path(root), Path(root) / path)
    except Exception as error:  # stores are plugins of fsspec, which raise errors of their own
        _log.warning("%s could not be stored: %s", path, describe_error(error))
        return None
    return str(files.unstrip_protocol(f"{root}/{path}"))


def _share(root: Path, file: Path) -> None:
    """Let the group write the file where workers share the folder by its group (``services.accounts``)."""
    mode = root.stat().st_mode
    if not mode & stat.S_ISGID:
        return
    for path in (file, *file.parents):
        if path == root:
            return
        if path.stat().st_uid == os.geteuid():
            path.chmod(0o660 if path == file else stat.S_IMODE(mode))


def read_file(settings: QuicklookSettings, path: str, *, expected: bool = True) -> bytes | None:
    """Read a file below ``SEGWATCH_EVIDENCE``; None when it is missing, with a warning if it was ``expected``."""
    if not has_storage(settings):
        return None
    try:
        files, root = fsspec.url_to_fs(find_storage(settings))
        content: bytes = files.cat_file(f"{root}/{path}")
    except Exception as error:  # as in put
        if not expected and isinstance(error, FileNotFoundError):
            return None
        _log.warning("%s could not be read: %s", path, describe_error(error))
        return None
    return content


def delete_file(settings: QuicklookSettings, path: str) -> bool:
    """Delete a file below ``SEGWATCH_EVIDENCE``; True if it is gone, also if it was missing."""
    if not has_storage(settings):
        return False
    try:
        files, root = fsspec.url_to_fs(find_storage(settings))
        files.rm_file(f"{root}/{path}")
    except FileNotFoundError:
        return True
    except Exception as error:  # as in store_file
        _log.warning("%s could not be deleted: %s", path, describe_error(error))
        return False
    return True


def find_file(settings: QuicklookSettings, path: str) -> str | None:
    """Return the address of a file below ``SEGWATCH_EVIDENCE``; None where it is missing or cannot be looked for."""
    if not has_storage(settings):
        return None
    try:
        files, root = fsspec.url_to_fs(find_storage(settings))
        return str(files.unstrip_protocol(f"{root}/{path}")) if files.exists(f"{root}/{path}") else None
    except Exception as error:  # as in put
        _log.warning("%s could not be looked for: %s", path, describe_error(error))
        return None


def find_storage(settings: QuicklookSettings) -> str | None:
    """Return the folder or fsspec address for quicklooks and reports; None where no storage outlasts a run.

    A worker may run each flow in a temporary folder, and the default home is relative to it.
    """
    given = None if settings.evidence == "none" else settings.evidence
    if given is None and settings.database_url is not None and "home" not in settings.model_fields_set:
        return None
    return given or str(settings.home.absolute() / "evidence")


def has_storage(settings: QuicklookSettings) -> bool:
    """Return whether files can be stored; warns once in a process where they cannot."""
    if find_storage(settings) is None:
        _warn_once()
        return False
    return True


@functools.cache
def _warn_once() -> None:
    _log.warning(
        "quicklooks and reports are not stored: %s; SEGWATCH_EVIDENCE=none turns quicklooks off", NO_STORAGE
    )
