"""Select the imagery source of a disaster run, considering the runs that the event already has."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection

from segwatch.db import watches
from segwatch.flows.events.playbooks import Playbook, PlaybookSource, make_watch_name
from segwatch.geo.area import compute_area_m2
from segwatch.geo.errors import CatalogUnreachable
from segwatch.geo.identity import identify_watch_catalog
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.deadline import call_within
from segwatch.geo.sources.search.catalog import open_catalog, require_collection
from segwatch.geo.sources.search.item_search import search
from segwatch.geo.types.event import Event
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.watch import Watch

#: Placeholders: which sources a playbook has does not depend on the area and time of its watches.
_SOMEWHERE, _ONCE = box(10.0, 45.0, 10.1, 45.1), datetime(2024, 1, 1, tzinfo=UTC)
#: A source is finer, and worth a second run, if its ground sample distance is smaller by this factor.
_FINER_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class RunTarget:
    """Target of a disaster run: event id, area and onset time."""

    identity: str
    """Stable name of the event."""
    area: BaseGeometry
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """A watch on one source, and the scenes of that source."""

    watch: Watch
    before: tuple[Scene, ...] = ()
    after: int = 0
    """Number of scenes since the event in the catalog."""
    answered: bool = True
    """False = the catalog did not respond, so its scenes are unknown."""


def list_event_names(event: Event) -> list[str]:
    """List the names of an event as SOURCE/ID, the current one first."""
    names = ((event.source, event.external_id), *((one.source, one.external_id) for one in event.names))
    return [f"{source}/{external_id}" for source, external_id in dict.fromkeys(names)]


def find_running_watches(conn: Connection, book: Playbook, identity: str) -> dict[str, Watch]:
    """Find the watches of an event by source label: the profile, with the catalog if the playbook has several."""
    known = set(watches.list_names(conn))
    sources = _sources(book, _SOMEWHERE, _ONCE, identity)
    beside = {_name_beside(book, identity, source): label for label, source, _ in sources}
    found: dict[str, Watch] = {}
    for name in (make_watch_name(book, identity), *beside):
        if name in known:
            watch = watches.load_current(conn, name).watch
            found[beside.get(name) or _source_of(watch, sources)] = watch
    return found


def _source_of(watch: Watch, sources: Sequence[tuple[str, PlaybookSource, Watch]]) -> str:
    """Return the label of a run's source: same profile and catalog, else same profile in any catalog."""
    same = [(label, one) for label, _, one in sources if one.profile.name == watch.profile.name]
    exact = (label for label, one in same if identify_watch_catalog(one) == identify_watch_catalog(watch))
    return next(iter((*exact, *(label for label, _ in same), watch.profile.name)))


def choose_source(
    book: Playbook, happening: RunTarget, runs: Mapping[str, Watch], *, seconds: float, unreachable: list[str]
) -> SourceChoice:
    """Select the first source with a scene since the event, else the first that keeps acquiring scenes.

    A run keeps its source, so that its scenes stay comparable. A further source gets a second run if it is finer, or,
    while the run's own source has nothing since the event, if it is another collection.

    Parameters
    ----------
    book
        Lists the sources in order of preference.
    happening
        Target of the run.
    runs
        Result of :func:`find_running_watches`.
    seconds
        Timeout for each source.
    unreachable
        Receives the sources whose catalog did not respond, with the reason.
    """
    fallback: SourceChoice | None = None
    instead: SourceChoice | None = None
    unheard: set[str] = set()
    candidates = _candidates(book, happening, runs)
    for one in candidates:
        try:
            choice = _query(one.watch, book.baseline.days, seconds)
        except CatalogUnreachable as error:
            unreachable.append(f"{one.watch.profile.name}: {error}")
            unheard.add(one.watch.name)
            continue
        if choice.after and one.kind is not _Kind.INSTEAD:
            return choice
        if choice.after:
            instead = instead or choice
        elif one.goes_on and (fallback is None or (choice.before and not fallback.before)):
            fallback = choice
    # while the catalog of the run is unreachable, it may still have scenes: start no second run
    if instead is not None and not any(
        one.watch.name in unheard for one in candidates if one.kind is _Kind.OWN
    ):
        return instead
    return fallback or next(
        SourceChoice(one.watch, answered=one.watch.name not in unheard) for one in candidates if one.goes_on
    )


class _Kind(enum.Enum):
    OWN = enum.auto()
    FINER = enum.auto()
    INSTEAD = enum.auto()


@dataclass(frozen=True, slots=True)
class _Candidate:
    watch: Watch
    kind: _Kind
    goes_on: bool
    """Whether it may be selected without a scene since the event."""


def _candidates(book: Playbook, happening: RunTarget, runs: Mapping[str, Watch]) -> list[_Candidate]:
    km2 = compute_area_m2(happening.area) / 1e6
    every = _sources(book, happening.area, happening.occurred_at, happening.identity)
    kept = [runs[label].profile for label, _, _ in every if label in runs]
    found = []
    for label, source, watch in every:
        profile = watch.profile
        if label in runs:
            found.append(_Candidate(replace(watch, name=runs[label].name), _Kind.OWN, goes_on=True))
        elif source.largest_km2 is not None and km2 > source.largest_km2:
            continue
        elif not kept:
            found.append(_Candidate(watch, _Kind.OWN, goes_on=not source.only_after))
        # skip mirrors of the run's own collection in other catalogs
        elif profile.collection not in {one.collection for one in kept}:
            finer = profile.gsd_m * _FINER_FACTOR <= min(one.gsd_m for one in kept)
            beside = replace(watch, name=_name_beside(book, happening.identity, source))
            found.append(_Candidate(beside, _Kind.FINER if finer else _Kind.INSTEAD, goes_on=False))
    return found


def _sources(
    book: Playbook, area: BaseGeometry, since: datetime, identity: str
) -> list[tuple[str, PlaybookSource, Watch]]:
    """List the sources of a playbook with a unique label and the watch on each."""
    every = [(source, book.watch_over(area, since, identity, source)) for source in book.sources]
    return [(f"{watch.profile.name}{_elsewhere(book, source)}", source, watch) for source, watch in every]


def _elsewhere(book: Playbook, source: PlaybookSource) -> str:
    """Return a suffix for a source whose profile an earlier one has in another catalog; else empty."""
    first = next(one for one in book.sources if one.profile == source.profile)
    return "" if source is first else f" {source.catalog_name or source.catalog}"


def _name_beside(book: Playbook, identity: str, source: PlaybookSource) -> str:
    return make_watch_name(book, f"{identity} {source.profile}{_elsewhere(book, source)}")


def _query(watch: Watch, days_before: int, seconds: float) -> SourceChoice:
    now = datetime.now(UTC)
    until = min(now, watch.end or now)
    found = _search_within(watch, watch.start - timedelta(days=days_before), until, seconds)
    every = group_scenes(found)
    before = tuple(scene for scene in every if scene.acquired_at < watch.start)
    return SourceChoice(watch, before, len(every) - len(before))


def _search_within(watch: Watch, since: datetime, until: datetime, seconds: float) -> list[Item]:
    """Search a catalog within a timeout; without it, the limits of retries and pages would add up.

    Raises
    ------
    CatalogUnreachable
        The catalog did not respond, or not in time.
    """

    def ask() -> list[Item]:
        catalog = open_catalog(watch.catalog)
        found = list(
            search(catalog, watch.profile, watch.area, since, until, identity=identify_watch_catalog(watch))
        )
        if not found:
            # an empty result may mean that the catalog lacks the collection
            require_collection(catalog, watch.profile)
        return [one for one in found if isinstance(one, Item)]

    try:
        return call_within(seconds, ask)
    except TimeoutError as error:
        reason = f"no complete response within {seconds:g} s"
        raise CatalogUnreachable(hrefs.redact_href(watch.catalog), reason) from error
