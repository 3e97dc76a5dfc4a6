"""What applying a watch would do, before it is applied: its area, scenes, cost, what changes, and what is withdrawn.

Nothing is written: what the ledger would do is done in a transaction that is rolled back. The catalog is searched with
a deadline; one that does not answer leaves the number of scenes unknown, and never keeps a watch from being applied.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine

from segwatch.db import observations, watches, withdrawing
from segwatch.db.codec import dump_watch
from segwatch.db.errors import CodecError, UnknownWatch
from segwatch.db.observations import ObservationCost
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.config.watch_writer import write_rule
from segwatch.flows.inference import segmenters, watch_models
from segwatch.flows.inference.tiled import count_tiles
from segwatch.geo import grid as grids
from segwatch.geo.area import compute_area_m2
from segwatch.geo.errors import GeoError
from segwatch.geo.identity import identify_watch_catalog
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources.http.deadline import call_within
from segwatch.geo.sources.search.item_search import RejectedItem, search
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.watch import Watch

#: For one catalog, and for all of a folder of watches.
_SEARCH_SECONDS, _ALL_SECONDS = 10.0, 30.0
_MAX_ITEMS = 2000
#: Pixels of a grid whose tiles are not counted: it would take seconds.
_MAX_GRID_PX = 4 * 10**8
#: Bytes of a sample, for imagery that nobody has read yet.
_SAMPLE_BYTES = 2
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Preview:
    """What applying one watch would do."""

    watch: str
    is_new: bool
    changes: tuple[str, ...]
    """What differs from the stored version, ``field: before -> after``; empty for a new or unchanged watch."""
    area_km2: float
    scenes: int | None
    """Scenes that the catalog has now in the watch's period; None = not known, see ``catalog_note``."""
    scenes_are_all: bool
    """False if the search was ended before the catalog had listed all."""
    scenes_by_month: dict[str, int]
    """Their number by month of acquisition, ``YYYY-MM``; empty where it is not known."""
    catalog_note: str
    """Why the number of scenes is not known, or not complete; empty if it is."""
    tiles_per_scene: int | None
    """None where the model or the area does not tell."""
    seconds_per_scene: float | None
    """Compute time, from earlier observations with the same model; None = there are none."""
    bytes_per_scene: float
    is_measured: bool
    """Whether bytes come from earlier observations; False = assumed: every pixel of every band, uncompressed."""
    messages_withdrawn: int
    """Pending messages to channels that the watch no longer names."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a mapping for JSON."""
        return asdict(self)

    def describe(self) -> Iterator[str]:
        """Yield lines for people."""
        state = "new" if self.is_new else "changed" if self.changes else "unchanged"
        yield f"{self.watch}: {state}, {self.area_km2:,.4g} km2"
        for line in self.changes:
            yield f"  {line}"
        if self.scenes is None:
            yield f"  scenes: unknown; {self.catalog_note}"
        else:
            least = "" if self.scenes_are_all else "at least "
            note = f" ({self.catalog_note})" if self.catalog_note else ""
            yield f"  scenes: {least}{self.scenes} in the catalog now{note}"
        yield f"  a scene: {', '.join(self._describe_cost())}"
        if self.scenes and self.seconds_per_scene is not None:
            yield f"  all of them: about {_format_seconds(self.scenes * self.seconds_per_scene)} of computing"
        if self.messages_withdrawn:
            yield f"  withdraws {self.messages_withdrawn} pending message(s) to channels that it no longer names"

    def _describe_cost(self) -> Iterator[str]:
        if self.tiles_per_scene is not None:
            yield f"{self.tiles_per_scene} tile(s)"
        if self.seconds_per_scene is None:
            yield "computing time unknown until this model has observed a scene"
        else:
            yield f"about {_format_seconds(self.seconds_per_scene)} of computing, from past observations"
        read = f"{self.bytes_per_scene / 1e6:,.3g} MB to read"
        yield (
            f"about {read}" if self.is_measured else f"at most {read} (assumed: every pixel, not compressed)"
        )


def _format_seconds(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.2g} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def preview_watches(
    engine: Engine, settings: FlowSettings, given: Sequence[Watch], silent: Mapping[str, str]
) -> Iterator[Preview]:
    """Preview what applying each watch would do.

    Parameters
    ----------
    silent
        Watches whose catalog is known not to answer, with the reason: it is not asked again.
    """
    until = time.monotonic() + _ALL_SECONDS
    for watch in given:
        seconds = min(_SEARCH_SECONDS, until - time.monotonic())
        reason = silent.get(watch.name)
        if reason is None and seconds <= 0:
            reason = f"not searched: the watches before it took {_ALL_SECONDS:g} s"
        found = CatalogScenes(note=reason) if reason is not None else list_scenes(watch, seconds)
        yield _preview(engine, settings, watch, found)


def _preview(engine: Engine, settings: FlowSettings, watch: Watch, found: CatalogScenes) -> Preview:
    km2 = compute_area_m2(watch.area) / 1e6
    with engine.connect() as conn:
        before = _load(conn, watch.name)
        cost = _read_cost(conn, settings, watch.name)
    bands = len(watch.profile.assets())
    assumed = km2 * 1e6 / watch.profile.gsd_m**2 * bands * _SAMPLE_BYTES
    seconds, read = (None, assumed) if cost is None else cost.compute_for(km2, watch.profile.gsd_m)
    return Preview(
        watch=watch.name,
        is_new=before is None,
        changes=() if before is None else tuple(_list_changes(before, watch)),
        area_km2=km2,
        scenes=found.count,
        scenes_are_all=found.is_complete,
        scenes_by_month=found.count_by_month(),
        catalog_note=found.note or "",
        tiles_per_scene=_count_tiles(settings, watch),
        seconds_per_scene=seconds,
        bytes_per_scene=read,
        is_measured=cost is not None,
        messages_withdrawn=_count_withdrawn(engine, watch),
    )


def _read_cost(conn: Connection, settings: FlowSettings, name: str) -> ObservationCost | None:
    """Read what the watch's model has cost so far; None also where this machine does not have the model."""
    try:
        return observations.read_cost(conn, watch_models.find_version(conn, settings, name))
    except segmenters.UNAVAILABLE:
        return None


def _load(conn: Connection, name: str) -> Watch | None:
    try:
        return watches.load_current(conn, name).watch
    except (UnknownWatch, CodecError):
        return None


def _count_withdrawn(engine: Engine, watch: Watch) -> int:
    """Count the messages that applying the watch would withdraw, in a transaction that is rolled back."""
    with engine.connect() as conn, conn.begin() as attempt:
        created = watches.apply(conn, watch).created
        count = withdrawing.withdraw_removed(conn, watch.name) if created else 0
        attempt.rollback()
    return count


@dataclass(frozen=True, slots=True)
class CatalogScenes:
    """The scenes of a watch's period that its catalog has now."""

    scenes: tuple[Scene, ...] = ()
    """By acquisition time."""
    is_complete: bool = False
    """False if the search was ended before the catalog had listed all."""
    rejected: tuple[RejectedItem, ...] = ()
    """Items that cannot be used."""
    note: str | None = None
    """Why these are not all, or none."""

    @property
    def count(self) -> int | None:
        """Number of scenes; None = not known."""
        return len(self.scenes) if self.scenes or self.is_complete else None

    def count_by_month(self) -> dict[str, int]:
        """Count scenes by month of acquisition, ``YYYY-MM``."""
        return dict(Counter(f"{one.acquired_at:%Y-%m}" for one in self.scenes))


def list_scenes(watch: Watch, seconds: float = _SEARCH_SECONDS) -> CatalogScenes:
    """List the scenes of the watch's period in its catalog; one that does not answer in time leaves them unknown."""
    now = datetime.now(UTC)
    until = min(now, watch.end or now)
    if watch.start > until:
        return CatalogScenes(is_complete=True, note="its period has not begun")
    found: list[Item] = []
    rejected: list[RejectedItem] = []

    def ask() -> bool:
        identity = identify_watch_catalog(watch)
        for one in search(watch.catalog, watch.profile, watch.area, watch.start, until, identity=identity):
            if isinstance(one, Item):
                found.append(one)
            else:
                rejected.append(one)
            if len(found) + len(rejected) >= _MAX_ITEMS:
                return False
        return True

    try:
        complete, note = call_within(seconds, ask), None
    except TimeoutError:
        complete, note = False, f"the catalog did not list all within {seconds:.0f} s"
    except GeoError as error:
        complete, note = False, str(error)
    return CatalogScenes(tuple(group_scenes(list(found))), complete, tuple(rejected), note)


def _count_tiles(settings: FlowSettings, watch: Watch) -> int | None:
    try:
        side = segmenters.find_tile_px(settings)
    except segmenters.UNAVAILABLE:
        side = None
    if side is None:
        return None
    grid = grids.make_grid(watch.area, watch.profile.gsd_m)
    return None if grid.height * grid.width > _MAX_GRID_PX else count_tiles(watch, side)


def _list_changes(before: Watch, after: Watch) -> Iterator[str]:
    """Yield every field that differs, ``field: before -> after``; rules in the words of a watch file."""
    old, new = (
        _flatten(dump_watch(one) | {"rules": [write_rule(rule) for rule in one.rules]})
        for one in (before, after)
    )
    for name in sorted(old.keys() | new.keys()):
        if _to_none(old.get(name)) == _to_none(new.get(name)):
            continue
        if name == "area":
            sizes = (f"{compute_area_m2(one.area) / 1e6:,.4g} km2" for one in (before, after))
            yield f"{name}: {' -> '.join(sizes)}"
        else:
            yield f"{name}: {_shorten(old.get(name))} -> {_shorten(new.get(name))}"


def _flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Flatten a document: path of a field -> value; rules are named by their names."""
    if isinstance(value, dict):
        parts = {key: one for key, one in value.items() if key != "name" or not name}
        return {
            k: v for key, one in parts.items() for k, v in _flatten(one, f"{name}.{key}".lstrip(".")).items()
        }
    if isinstance(value, list) and value and all(isinstance(one, dict) and "name" in one for one in value):
        return {k: v for one in value for k, v in _flatten(one, f"{name}.{one['name']}").items()}
    return {name: value}


def _to_none(value: Any) -> Any:
    """Turn an empty list or text into None: a watch file says none of them."""
    return None if value in ("", [], ()) else value


def _shorten(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    text = "nothing" if value in (None, "") else str(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
