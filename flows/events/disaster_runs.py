"""Disaster runs: turn an event into a watch of its area, and queue the best scene from before the event."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from segwatch.db import events, observations, scenes, watches
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import FlowError
from segwatch.flows.events import playbooks, shakemap
from segwatch.flows.events.playbooks import Playbook
from segwatch.flows.events.source_selection import Happening, choose, identities, running
from segwatch.flows.inference.segmenters import version_of
from segwatch.geo.area import geodesic_m2
from segwatch.geo.errors import EventRefused
from segwatch.geo.events.area import looked_at
from segwatch.geo.events.linking import linked
from segwatch.geo.scenes import best, newest
from segwatch.geo.types.event import Event
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Response:
    """What a disaster run does, or would do."""

    watch: str
    playbook: str
    event: str
    area_km2: float
    source: str = ""
    since: datetime | None = None
    until: datetime | None = None
    baseline: str | None = None
    """Key of the scene from before; None = none was found, or the source was not heard, see ``answered``."""
    scenes_after: int = 0
    """Scenes since the event that the catalog has now."""
    answered: bool = True
    """Whether the source's catalog answered; False = nothing is known of its scenes."""
    unreachable: list[str] = field(default_factory=list)
    """Sources that did not answer, and why."""
    seconds_per_scene: float | None = None
    """Computing, from what the same model took before; None = it has not observed anything yet."""
    bytes_per_scene: float | None = None
    begun: bool = False
    """Whether a run is to start: the watch is new or changed, or nothing of it was answered yet; not in a dry run."""


def happening_of(
    engine: Engine, settings: FlowSettings, book: Playbook, event: Event, told: Sequence[Event] = ()
) -> Happening:
    """An event as a playbook looks at it; ``told`` are further entries about it, which may tell more of its area.

    Raises
    ------
    segwatch.geo.errors.EventRefused
        Its area is too large, or none can be made of it.
    """
    with engine.connect() as conn:
        identity = _identity(book, event, set(watches.names(conn)))
    ground = None
    if book.area.shake_intensity is not None:
        least, largest = book.area.shake_intensity, book.largest_km2
        ground = shakemap.ground(settings, [event, *told], least=least, largest_km2=largest)
        if ground is None:
            # contours that cannot be had today must not take the watch elsewhere
            with engine.connect() as conn:
                ground = next((run.area for run in running(conn, book, identity).values()), None)
    place = event if ground is None else replace(event, geometry=ground)
    area = looked_at(place, radius_km=book.radius_km, largest_km2=book.largest_km2)
    return Happening(identity, area, event.occurred_at)


def _identity(book: Playbook, event: Event, names: Collection[str]) -> str:
    """The name of an event under which its run began, else the first."""
    every = identities(event)
    return next((one for one in every if playbooks.watch_name(book, one) in names), every[0])


def respond(
    engine: Engine, settings: FlowSettings, book: Playbook, happening: Happening, *, dry_run: bool = False
) -> tuple[Response, Watch]:
    """Store the watch and queue the best scene from before; scenes since then are found by observing the watch.

    The first source that has a scene since the event is taken, else the first with one from before; the run keeps it,
    and a finer one that has a scene later gets a run beside it. Repeating it changes nothing; an event whose area was
    revised gives the watch a new revision.
    """
    model_version = version_of(settings)
    area_km2 = geodesic_m2(happening.area) / 1e6
    made = Response("", book.name, happening.identity, area_km2)
    with engine.connect() as conn:
        runs = running(conn, book, happening.identity)
    seconds = settings.source_timeout_seconds
    choice = choose(book, happening, runs, seconds=seconds, unreachable=made.unreachable)
    watch, made.scenes_after, made.answered = choice.watch, choice.after, choice.answered
    baseline = best(choice.before, happening.area)
    made.watch, made.source = watch.name, watch.profile.name
    made.since, made.until = watch.start, watch.end
    made.baseline = baseline.key if baseline else None
    with engine.begin() as conn:
        cost = observations.read_cost(conn, model_version)
        if cost is not None:
            made.seconds_per_scene = cost.seconds_per_km2 * area_km2
            made.bytes_per_scene = cost.bytes_per_km2 * area_km2
        if not dry_run:
            applied = watches.apply(conn, watch)
            made.begun = applied.created or not watches.observed(conn, watch.name, answered=True)
            # an event that is revised keeps the picture from before that it began with
            if baseline is not None and not watches.observed(conn, watch.name):
                found = scenes.upsert(conn, [baseline])
                scenes.settle(conn, found, newest)
                observations.enqueue(conn, applied.revision_id, model_version, found)
    _log.info("respond %s", asdict(made))
    return made, watch


def respond_to_events(
    engine: Engine, settings: FlowSettings, books: Sequence[Playbook], *, now: datetime | None = None
) -> Iterator[tuple[Response, Watch] | str | FlowError]:
    """Respond to every known event that a playbook is for and that is not over; what is refused says why.

    What goes wrong with one event is given in its place, and the others follow. Of events that several feeds tell of,
    one is responded to: the one that already was, else the first.
    """
    moment = now or datetime.now(UTC)
    with engine.connect() as conn:
        every = events.known(conn)
        names = set(watches.names(conn))
    for book in books:
        yield from _end_cancelled(engine, book, every, names)
        current = [
            event
            for event in every
            if book.matches(event)
            # added on the other side: an event may name the last day of the calendar
            and event.occurred_at <= moment
            and moment - timedelta(days=book.days) < event.occurred_at
        ]
        for same in linked(current):
            begun = (one for one in same if playbooks.watch_name(book, _identity(book, one, names)) in names)
            chosen = next(begun, same[0])
            try:
                others = [one for one in same if one is not chosen]
                happening = happening_of(engine, settings, book, chosen, others)
                made = respond(engine, settings, book, happening)
            except EventRefused as error:
                _log.warning("playbook %s: %s", book.name, error)
                yield str(error)
            except Exception as error:
                # one event must not keep the others waiting
                _log.exception("playbook %s: event %s/%s", book.name, chosen.source, chosen.external_id)
                yield FlowError(f"{chosen.source}/{chosen.external_id}: {type(error).__name__}: {error}")
            else:
                yield made


def _end_cancelled(
    engine: Engine, book: Playbook, every: Sequence[Event], names: Collection[str]
) -> Iterator[str]:
    """Let the runs of events that were taken back end when they were."""
    for event in every:
        if not event.cancelled or event.updated_at is None:
            continue
        for identity in identities(event):
            if playbooks.watch_name(book, identity) not in names:
                continue
            with engine.begin() as conn:
                for watch in running(conn, book, identity).values():
                    # a period that ends before it begins is none
                    end = max(event.updated_at, watch.start + timedelta(seconds=1))
                    if (watch.end is None or end < watch.end) and watches.apply(
                        conn, replace(watch, end=end)
                    ).created:
                        _log.info("watch %s ends: %s was taken back", watch.name, identity)
                        yield f"{identity} was taken back; its watch {watch.name} ends at {end.isoformat()}"
