"""Files that appear whole or not at all: written under another name in the same folder, then renamed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from segwatch.flows.errors import ConfigError

#: In folders that segwatch wrote: only those are replaced.
MARKER = "segwatch-export.json"
#: Begins the names of unfinished files; a killed export leaves such a file, and a later one removes it.
_UNFINISHED = ".unfinished-"
#: Younger ones may belong to an export that still runs.
_LEFT_SECONDS = 24 * 3600


def check_target(target: Path, *, force: bool) -> None:
    """Check that an export may be written to a place, before anything is read.

    Raises
    ------
    ConfigError
        It exists and ``force`` is not given, it is not of segwatch's making, or its folder cannot be written.
    """
    if target.exists() and not force:
        raise ConfigError(f"{target} exists; write it anew with --force, or give another name with --out")
    if target.is_dir() and not (target / MARKER).is_file():
        raise ConfigError(f"{target} is a folder that no export wrote; give another name with --out")
    folder = target.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"the folder {folder} does not exist; make it, or give another one with --out")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"the folder {folder} cannot be written; give another one with --out")


@contextmanager
def write_whole(target: Path) -> Iterator[Path]:
    """Give a path to write to, and move what is there to the target once the block has succeeded.

    The path keeps the extension of the target, by which libraries choose the format. Files and folders work.

    Raises
    ------
    ConfigError
        The target is a file and a folder was written, or the other way round.
    """
    target = target.absolute()
    for left in target.parent.glob(f"{_UNFINISHED}*"):
        if left.name.endswith(f"-{target.name}") and time.time() - left.stat().st_mtime > _LEFT_SECONDS:
            _remove(left)
    made = target.parent / f"{_UNFINISHED}{uuid4().hex[:8]}-{target.name}"
    try:
        yield made
        _flush(made)
        _replace(made, target)
    finally:
        _remove(made)


def _flush(made: Path) -> None:
    """Write files to the disk, so that a power failure leaves no empty file under the final name."""
    for path in [made] if made.is_file() else [one for one in made.rglob("*") if one.is_file()]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(made: Path, target: Path) -> None:
    if made.is_file():
        if target.is_dir():
            raise ConfigError(f"{target} is a folder; give the name of a file with --out")
        made.replace(target)
        return
    if target.is_file():
        raise ConfigError(f"{target} is a file; give the name of a folder with --out")
    if target.exists():
        # a folder cannot be replaced in one step: the old one is set aside until the new one has its name
        old = target.parent / f"{_UNFINISHED}{uuid4().hex[:8]}-{target.name}"
        target.rename(old)
        made.rename(target)
        _remove(old)
    else:
        made.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
