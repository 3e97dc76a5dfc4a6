"""Which source of imagery a disaster run takes, and which runs an event has already."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection

from segwatch.db import watches
from segwatch.flows.events.playbooks import Playbook, Source, watch_name
from segwatch.geo.area import geodesic_m2
from segwatch.geo.errors import CatalogUnreachable
from segwatch.geo.identity import identity_of
from segwatch.geo.scenes import group
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.deadline import within
from segwatch.geo.sources.search.catalog import opened, require_collection
from segwatch.geo.sources.search.item_search import search
from segwatch.geo.types.event import Event
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.watch import Watch

#: A watch's file has an area and a time, which say nothing about its source.
_SOMEWHERE, _ONCE = box(10.0, 45.0, 10.1, 45.1), datetime(2024, 1, 1, tzinfo=UTC)
#: A source that shows things so many times smaller is worth a run beside one that goes on.
_FINER = 2.0


@dataclass(frozen=True, slots=True)
class Happening:
    """What a disaster run is about."""

    identity: str
    """Names the event, the same whoever asks and however often."""
    area: BaseGeometry
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """A watch over one source, and what the source has."""

    watch: Watch
    before: tuple[Scene, ...] = ()
    after: int = 0
    """Scenes since the event that the catalog has now."""
    answered: bool = True
    """False = its catalog was not heard: nothing is known of its scenes."""


def identities(event: Event) -> list[str]:
    """Every name of an event as SOURCE/ID, the one in force first."""
    names = ((event.source, event.external_id), *((one.source, one.external_id) for one in event.names))
    return [f"{source}/{external_id}" for source, external_id in dict.fromkeys(names)]


def running(conn: Connection, book: Playbook, identity: str) -> dict[str, Watch]:
    """The watches over an event, by their sources: the profile's name, with the catalog where that is a second one."""
    known = set(watches.names(conn))
    sources = _sources(book, _SOMEWHERE, _ONCE, identity)
    beside = {_name_beside(book, identity, source): label for label, source, _ in sources}
    found: dict[str, Watch] = {}
    for name in (watch_name(book, identity), *beside):
        if name in known:
            watch = watches.current(conn, name).watch
            found[beside.get(name) or _source_of(watch, sources)] = watch
    return found


def _source_of(watch: Watch, sources: Sequence[tuple[str, Source, Watch]]) -> str:
    """The source that a run was begun on: its profile in its catalog, else in whichever catalog that is now."""
    same = [(label, one) for label, _, one in sources if one.profile.name == watch.profile.name]
    exact = (label for label, one in same if identity_of(one) == identity_of(watch))
    return next(iter((*exact, *(label for label, _ in same), watch.profile.name)))


def choose(
    book: Playbook, happening: Happening, runs: Mapping[str, Watch], *, seconds: float, unreachable: list[str]
) -> Choice:
    """The first source that has a scene since the event, else the first of those that go on taking scenes.

    A run keeps its source, so that scenes of one kind are compared. A further source gets a run of its own beside it:
    one so much finer that it is worth it, or one of another kind while the run's own has nothing since the event.

    Args:
        book: names the sources, in order of preference.
        happening: what it is about.
        runs: what :func:`running` gives.
        seconds: longest wait for one source.
        unreachable: gets those that did not answer, with the reason.
    """
    fallback: Choice | None = None
    instead: Choice | None = None
    silent: set[str] = set()
    candidates = _candidates(book, happening, runs)
    for one in candidates:
        try:
            choice = _asked(one.watch, book.baseline.days, seconds)
        except CatalogUnreachable as error:
            unreachable.append(f"{one.watch.profile.name}: {error}")
            silent.add(one.watch.name)
            continue
        if choice.after and one.kind is not _Kind.INSTEAD:
            return choice
        if choice.after:
            instead = instead or choice
        elif one.goes_on and (fallback is None or (choice.before and not fallback.before)):
            fallback = choice
    # a run whose catalog does not answer today may have scenes all the same
    if instead is not None and not any(
        one.watch.name in silent for one in candidates if one.kind is _Kind.OWN
    ):
        return instead
    return fallback or next(
        Choice(one.watch, answered=one.watch.name not in silent) for one in candidates if one.goes_on
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
    """Whether it may be taken without a scene since the event."""


def _candidates(book: Playbook, happening: Happening, runs: Mapping[str, Watch]) -> list[_Candidate]:
    km2 = geodesic_m2(happening.area) / 1e6
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
        # a mirror in another catalog has what the run's own has
        elif profile.collection not in {one.collection for one in kept}:
            finer = profile.gsd_m * _FINER <= min(one.gsd_m for one in kept)
            beside = replace(watch, name=_name_beside(book, happening.identity, source))
            found.append(_Candidate(beside, _Kind.FINER if finer else _Kind.INSTEAD, goes_on=False))
    return found


def _sources(
    book: Playbook, area: BaseGeometry, since: datetime, identity: str
) -> list[tuple[str, Source, Watch]]:
    """The sources of a playbook, each with the watch over it, by labels that tell them apart."""
    every = [(source, book.watch_over(area, since, identity, source)) for source in book.sources]
    return [(f"{watch.profile.name}{_elsewhere(book, source)}", source, watch) for source, watch in every]


def _elsewhere(book: Playbook, source: Source) -> str:
    """What tells a source from an earlier one of the same profile in another catalog; empty where none is."""
    first = next(one for one in book.sources if one.profile == source.profile)
    return "" if source is first else f" {source.catalog_name or source.catalog}"


def _name_beside(book: Playbook, identity: str, source: Source) -> str:
    return watch_name(book, f"{identity} {source.profile}{_elsewhere(book, source)}")


def _asked(watch: Watch, days_before: int, seconds: float) -> Choice:
    now = datetime.now(UTC)
    until = min(now, watch.end or now)
    found = _in_time(watch, watch.start - timedelta(days=days_before), until, seconds)
    every = group(found)
    before = tuple(scene for scene in every if scene.acquired_at < watch.start)
    return Choice(watch, before, len(every) - len(before))


def _in_time(watch: Watch, since: datetime, until: datetime, seconds: float) -> list[Item]:
    """The items of a catalog, if it gives them in time: retries and pages have limits of their own, which add up.

    Raises
    ------
    CatalogUnreachable
        It did not answer, or not in time.
    """

    def ask() -> list[Item]:
        catalog = opened(watch.catalog)
        found = list(search(catalog, watch.profile, watch.area, since, until, identity=identity_of(watch)))
        if not found:
            # a catalog without the collection finds nothing either
            require_collection(catalog, watch.profile)
        return [one for one in found if isinstance(one, Item)]

    try:
        return within(seconds, ask)
    except TimeoutError as error:
        reason = f"no complete answer within {seconds:g} s"
        raise CatalogUnreachable(hrefs.shown(watch.catalog), reason) from error
