"""The registered sources of a home folder: where each lies, and its items.

Each source is a folder ``sources/NAME`` of the home:

| file | content |
| --- | --- |
| ``source.json`` | the registered folders and files |
| ``NAME.toml`` | the source's profile; the user may edit it |
| ``collection.json``, ``items/*.json`` | a static STAC catalog that other programs can read, too |
| ``prepared/*.tif`` | files that had to be converted to be read |
| ``preview.png`` | a picture of the files |
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

from segwatch.geo.errors import SourceInUse, UnknownSource
from segwatch.geo.local_addresses import (
    NAME,
    Root,
    make_address,
    make_catalog_url,
    make_grant,
    parse_catalog_url,
)
from segwatch.geo.text.spelling import find_nearest

#: Where the sources of this process's home lie, see :func:`use_home`.
_FOLDER: list[Path] = [Path(".segwatch", "sources").absolute()]
#: Label of the root with converted files.
PREPARED = "prepared"
#: Properties of assets that segwatch itself reads: root label, path below it, and stamp.
ROOT, PATH, STAMP = "segwatch:root", "segwatch:path", "segwatch:version"
_SOURCE, _COLLECTION, _ITEMS = "source.json", "collection.json", "items"
_MAX_BYTES = 16 * 1024**2


def use_home(home: Path) -> None:
    """Use the sources that are registered in this home folder, for this process."""
    _FOLDER[:] = [home.absolute() / "sources"]


def get_folder() -> Path:
    """Return the folder of all sources."""
    return _FOLDER[0]


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A registered source."""

    name: str
    folder: Path
    """Folder of its registration, not of its files."""
    roots: tuple[Root, ...] = ()
    """Registered folders and files."""

    @property
    def url(self) -> str:
        """URL of its catalog."""
        return make_catalog_url(self.name)

    @property
    def profile_path(self) -> Path:
        """Path of its profile; its stem is the profile's name."""
        return self.folder / f"{self.name}.toml"

    @property
    def preview_path(self) -> Path:
        """Path of the picture of its files."""
        return self.folder / "preview.png"

    @property
    def prepared(self) -> Root:
        """Root of the files that had to be converted."""
        return Root(PREPARED, self.folder.resolve() / PREPARED)

    def list_grants(self) -> tuple[str, ...]:
        """List the grants to open its files."""
        return tuple(make_grant(self.name, one) for one in (*self.roots, self.prepared))

    def find_root(self, label: str) -> Root | None:
        """Find a root by its label."""
        return next((one for one in (*self.roots, self.prepared) if one.label == label), None)

    def read_items(self) -> dict[str, dict[str, Any]]:
        """Read the items of its collection as they are stored, by id."""
        try:
            links = _read_json(self.folder / _COLLECTION)["links"]
        except FileNotFoundError:
            return {}
        names = [str(one["href"]) for one in links if one.get("rel") == "item"]
        items = (_read_json(self.folder / name) for name in names)
        return {str(one["id"]): one for one in items}

    def build_catalog(self) -> dict[str, Any]:
        """Build the document of its catalog: a list of items whose hrefs are addresses, see the module of these."""
        return {
            "type": "FeatureCollection",
            "features": [self._to_catalog_item(one) for one in self.read_items().values()],
        }

    def _to_catalog_item(self, item: Mapping[str, Any]) -> dict[str, Any]:
        assets = {
            key: {"href": make_address(self.name, asset[ROOT], asset[PATH], asset[STAMP])}
            for key, asset in item["assets"].items()
            if ROOT in asset
        }
        link = {"rel": "self", "href": f"{self.url}/{_ITEMS}/{item['id']}"}
        return {**item, "assets": assets, "links": [link]}

    def write_item(self, item: Mapping[str, Any]) -> None:
        """Write an item; it belongs to the collection once that is written, too."""
        write_atomically(self.folder / _ITEMS / f"{item['id']}.json", json.dumps(item, indent=1).encode())

    def write_collection(self, collection: Mapping[str, Any]) -> None:
        """Write the collection, which decides which items there are."""
        write_atomically(self.folder / _COLLECTION, json.dumps(collection, indent=1).encode())

    def write_roots(self) -> None:
        """Write the registered folders and files."""
        roots = [{"label": one.label, "path": str(one.path)} for one in self.roots]
        write_atomically(self.folder / _SOURCE, json.dumps({"version": 1, "roots": roots}, indent=1).encode())


def find(name: str) -> LocalSource:
    """Find a registered source.

    Raises
    ------
    UnknownSource
        There is none of this name, or its registration cannot be read.
    """
    folder = get_folder() / name
    if not NAME.match(name) or not (folder / _SOURCE).is_file():
        known = list_names()
        near = find_nearest(name, known)
        hint = f"; did you mean {near}?" if near else f"; registered: {', '.join(known) or 'none'}"
        raise UnknownSource(name, f"is not registered in {get_folder().parent}{hint}")
    try:
        document = _read_json(folder / _SOURCE)
        roots = tuple(Root(str(one["label"]), Path(one["path"])) for one in document["roots"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnknownSource(name, f"has a registration that cannot be read: {error}") from error
    return LocalSource(name, folder, roots)


def find_by_url(url: str) -> LocalSource:
    """Find a registered source by the URL of its catalog."""
    return find(parse_catalog_url(url))


def list_grants(url: str) -> tuple[str, ...]:
    """List the grants that the catalog at a URL gives; none where its source is not registered here."""
    try:
        return find_by_url(url).list_grants()
    except UnknownSource:
        return ()


def list_names() -> list[str]:
    """List the names of the registered sources."""
    folder = get_folder()
    if not folder.is_dir():
        return []
    return sorted(one.name for one in folder.iterdir() if (one / _SOURCE).is_file())


def remove(name: str) -> None:
    """Remove a registration with its catalog and converted files; the registered folders stay as they are.

    Raises
    ------
    UnknownSource
        There is no such source.
    """
    source = find(name)
    (source.folder / _SOURCE).unlink()  # from here on it is not registered, even if the rest fails
    shutil.rmtree(source.folder)


@contextmanager
def lock(name: str) -> Iterator[Path]:
    """Lock a source for changes; yields its folder, which is made.

    Raises
    ------
    SourceInUse
        Another process changes it.
    """
    folder = get_folder()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise SourceInUse(f"another process changes source {name}; wait for it to end") from error
        for one in (folder / name, folder / name / _ITEMS, folder / name / PREPARED):
            one.mkdir(exist_ok=True)
        yield folder / name
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either whole or as it was before, also if the process is killed."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _read_json(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{path.name} has more than {_MAX_BYTES} bytes")
    document = json.loads(content)
    if not isinstance(document, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return document
