"""Find the files of registered folders, and give each its item's id."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from segwatch.geo.errors import UnusableFile
from segwatch.geo.local_addresses import Root, make_stamp
from segwatch.geo.sources.local.reading import Outside, open_inside
from segwatch.geo.sources.local.registry import PREPARED
from segwatch.geo.types.source import CloudMask

SUFFIXES = (".tif", ".tiff", ".gtiff", ".cog", ".jp2")
"""Endings of the names of files that are read."""
MAX_FILES = 20_000
"""Files of one source; more are better served as a STAC API."""
MAX_ROOTS = 500
"""Folders and single files of one source."""
_MAX_DEPTH = 32
_MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a registered folder."""

    root: Root
    below: str
    """Path below the root, with slashes; empty where the root is the file."""
    stamp: str
    reason: str = ""
    """Why it cannot be used; empty = it may be."""
    parts: tuple[tuple[str, FoundFile], ...] = ()
    """Asset -> file of an image of several files, this one among them; see the module of products."""
    mask: CloudMask | None = None
    """What the mask among the parts means."""
    product: str = ""
    """Kind of product that tells the meaning of the bands; empty = the file itself has them all."""
    name: str = ""
    """Name of the image; empty = that of the file."""

    @property
    def version(self) -> str:
        """What changes whenever a file of the image does."""
        if not self.parts:
            return self.stamp
        stamps = "/".join((self.stamp, *(f"{name}={one.stamp}" for name, one in self.parts)))
        return hashlib.sha256(stamps.encode()).hexdigest()[:32]

    @property
    def key(self) -> str:
        """What identifies it in its source: ``ROOT/PATH``."""
        return f"{self.root.label}/{self.below}" if self.below else self.root.label

    @property
    def path(self) -> Path:
        """Absolute path."""
        return self.root.path / self.below if self.below else self.root.path

    @property
    def named_path(self) -> PurePath:
        """Path below the root's parent: what may tell a date."""
        return PurePath(self.root.path.name, self.below)


def scan(roots: Sequence[Root]) -> list[FoundFile]:
    """Find the files of some roots, sorted by root and path.

    Hidden files and folders are left out. Symbolic links to folders are not followed; those to files are, unless they
    lead out of their root.

    Raises
    ------
    UnusableFile
        There are too many.
    """
    found: list[FoundFile] = []
    for root in roots:
        for below in sorted(_walk(root.path)) if root.path.is_dir() else [""]:
            if len(found) >= MAX_FILES:
                raise UnusableFile(
                    f"there are more than {MAX_FILES} files; register parts of the folder as sources of their own"
                )
            found.append(_look_at(root, below))
    return found


def _walk(folder: Path, above: str = "", depth: int = 0) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        below = f"{above}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if depth < _MAX_DEPTH:
                yield from _walk(Path(entry.path), f"{below}/", depth + 1)
        elif entry.name.lower().endswith(SUFFIXES):
            yield below


def _look_at(root: Root, below: str) -> FoundFile:
    try:
        if "\\" in below or any(ord(one) < 32 for one in below):
            raise Outside("its name has backslashes or control characters; rename it")
        below.encode()
        with open_inside(root.path, below) as descriptor:
            return FoundFile(root, below, make_stamp(os.fstat(descriptor)))
    except UnicodeEncodeError:
        return FoundFile(
            root, below.encode(errors="replace").decode(), "", "its name is not UTF-8; rename it"
        )
    except Outside as error:
        return FoundFile(root, below, "", str(error))
    except OSError as error:
        return FoundFile(root, below, "", f"it cannot be opened: {error.strerror}")


def extend_roots(known: Sequence[Root], given: Sequence[Path]) -> tuple[Root, ...]:
    """Add folders and files to a source's roots; one that lies in a root already adds none.

    Raises
    ------
    UnusableFile
        A path does not exist, or encloses a registered one; or there are too many.
    """
    roots = list(known)
    for path in given:
        try:
            real = path.expanduser().resolve(strict=True)
        except OSError as error:
            raise UnusableFile(f"{path} cannot be read: {error.strerror}") from error
        if any(real == one.path or real.is_relative_to(one.path) for one in roots):
            continue
        inside = next((one for one in roots if one.path.is_relative_to(real)), None)
        if inside is not None:
            raise UnusableFile(
                f"{path} encloses {inside.path}, which the source has already; give the source another --name"
            )
        if len(roots) >= MAX_ROOTS:
            raise UnusableFile(
                f"a source has at most {MAX_ROOTS} folders and single files; give their folder"
            )
        roots.append(Root(_choose_label(real.name, {one.label for one in roots}), real))
    return tuple(roots)


def _choose_label(name: str, taken: Collection[str]) -> str:
    plain = re.sub(r"[^\w.-]", "_", name).lstrip(".")[:_MAX_NAME_CHARS] or "files"
    taken = {*taken, PREPARED}
    return next(
        one for one in (plain, *(f"{plain}-{number}" for number in range(2, 10_000))) if one not in taken
    )


def choose_id(file: FoundFile, taken: Mapping[str, str]) -> str:
    """Choose the id of a file's item: its name, with what makes it unique where others have the same.

    Parameters
    ----------
    taken
        Item id -> key of the file that has it.
    """
    own = next((item_id for item_id, key in taken.items() if key == file.key), None)
    if own is not None:
        return own
    stem = file.name or PurePath(file.below or file.root.label).stem
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", stem).strip(".-")[:_MAX_NAME_CHARS] or "file"
    if plain not in taken:
        return plain
    return f"{plain}-{hashlib.sha256(file.key.encode()).hexdigest()[:8]}"
