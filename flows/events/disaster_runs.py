"""Disaster runs: turn an event into a watch of its area, and queue the best scene from before the event."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from segwatch.db import events, observations, scenes, watches
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.config.settings.events import EventSettings
from segwatch.flows.errors import FlowError
from segwatch.flows.events import playbooks, shakemap
from segwatch.flows.events.playbooks import Playbook
from segwatch.flows.events.source_selection import (
    RunTarget,
    choose_source,
    find_running_watches,
    list_event_names,
)
from segwatch.flows.inference import watch_models
from segwatch.geo.area import compute_area_m2
from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.area import compute_area
from segwatch.geo.events.linking import group_same_events
from segwatch.geo.scenes import select_best_scene, select_newest
from segwatch.geo.types.event import Event
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class DisasterRun:
    """A disaster run that was started, or would be in a dry run."""

    watch: str
    playbook: str
    event: str
    area_km2: float
    source: str = ""
    since: datetime | None = None
    until: datetime | None = None
    baseline: str | None = None
    """Key of the best scene from before the event; None = none found, or catalog unreachable (see ``answered``)."""
    scenes_after: int = 0
    """Scenes since the event in the catalog."""
    answered: bool = True
    """Whether the catalog responded; False = its scenes are unknown."""
    unreachable: list[str] = field(default_factory=list)
    """Sources whose catalog did not respond, and why."""
    seconds_per_scene: float | None = None
    """Estimated compute time, from earlier observations of the same model; None = it has none."""
    bytes_per_scene: float | None = None
    begun: bool = False
    """Whether an observe run should start: the watch is new or changed, or has no observation yet."""


def resolve_target(
    engine: Engine, settings: EventSettings, book: Playbook, event: Event, duplicates: Sequence[Event] = ()
) -> RunTarget:
    """Compute the target of a disaster run.

    Parameters
    ----------
    engine
        The ledger: an event keeps the identity under which its run began.
    settings
        Used to fetch ShakeMap contours.
    book
        Decides how the area is computed.
    event
        The event to respond to.
    duplicates
        Entries of other feeds about the same event, which may link to contours.

    Raises
    ------
    segwatch.geo.errors.InvalidEvent
        The area is too large, or none can be computed.
    """
    with engine.connect() as conn:
        identity = _identity(book, event, set(watches.list_names(conn)))
    shaken = None
    if book.area.shake_intensity is not None:
        least, largest = book.area.shake_intensity, book.largest_km2
        shaken = shakemap.find_shaken_area(settings, [event, *duplicates], least=least, largest_km2=largest)
        if shaken is None:
            # while the contours are unavailable, keep the area of the run
            with engine.connect() as conn:
                shaken = next((run.area for run in find_running_watches(conn, book, identity).values()), None)
    place = event if shaken is None else replace(event, geometry=shaken)
    area = compute_area(place, radius_km=book.radius_km, largest_km2=book.largest_km2)
    return RunTarget(identity, area, event.occurred_at)


def _identity(book: Playbook, event: Event, names: Collection[str]) -> str:
    """Return the name under which the event's run began, else the event's first name."""
    every = list_event_names(event)
    return next((one for one in every if playbooks.make_watch_name(book, one) in names), every[0])


def prepare_run(
    engine: Engine, settings: FlowSettings, book: Playbook, happening: RunTarget, *, dry_run: bool = False
) -> tuple[DisasterRun, Watch]:
    """Store the watch of a disaster run and queue the best scene from before the event.

    Later scenes are found by observing the watch. The source is the first with a scene since the event, else the first
    with one from before. A run keeps its source; a finer source that gets a scene later gets a second run. Idempotent:
    only a revised area makes a new watch revision.
    """
    area_km2 = compute_area_m2(happening.area) / 1e6
    made = DisasterRun("", book.name, happening.identity, area_km2)
    with engine.connect() as conn:
        runs = find_running_watches(conn, book, happening.identity)
    seconds = settings.source_timeout_seconds
    choice = choose_source(book, happening, runs, seconds=seconds, unreachable=made.unreachable)
    watch, made.scenes_after, made.answered = choice.watch, choice.after, choice.answered
    baseline = select_best_scene(choice.before, happening.area)
    made.watch, made.source = watch.name, watch.profile.name
    made.since, made.until = watch.start, watch.end
    made.baseline = baseline.key if baseline else None
    with engine.begin() as conn:
        model_version = watch_models.find_version(conn, settings, watch.name)
        cost = observations.read_cost(conn, model_version)
        if cost is not None:
            made.seconds_per_scene, made.bytes_per_scene = cost.compute_for(area_km2, watch.profile.gsd_m)
        if not dry_run:
            applied = watches.apply(conn, watch)
            made.begun = applied.created or not watches.has_observations(conn, watch.name, answered=True)
            # a revised event keeps the baseline scene that it began with
            if baseline is not None and not watches.has_observations(conn, watch.name):
                found = scenes.upsert(conn, [baseline])
                scenes.settle(conn, found, select_newest)
                observations.enqueue(conn, applied.revision_id, model_version, found)
    _log.info("respond %s", asdict(made))
    return made, watch


def respond_to_events(
    engine: Engine, settings: FlowSettings, books: Sequence[Playbook], *, now: datetime | None = None
) -> Iterator[tuple[DisasterRun, Watch] | str | FlowError]:
    """Start disaster runs for all current events in the ledger that a playbook matches.

    Of several feed entries about the same event, the one that already has a run is used, else the first.

    Yields
    ------
    tuple[DisasterRun, Watch]
        A run and its watch.
    str
        Why an event was refused, or that its run ends because it was cancelled.
    FlowError
        An unexpected failure of one event; the others follow.
    """
    moment = now or datetime.now(UTC)
    with engine.connect() as conn:
        every = events.load_events(conn)
        names = set(watches.list_names(conn))
    for book in books:
        yield from _end_cancelled(engine, book, every, names)
        current = [
            event
            for event in every
            if book.matches(event)
            # subtracted from now: adding to the event's time could overflow
            and event.occurred_at <= moment
            and moment - timedelta(days=book.days) < event.occurred_at
        ]
        for same in group_same_events(current):
            begun = (
                one for one in same if playbooks.make_watch_name(book, _identity(book, one, names)) in names
            )
            chosen = next(begun, same[0])
            try:
                others = [one for one in same if one is not chosen]
                happening = resolve_target(engine, settings, book, chosen, others)
                made = prepare_run(engine, settings, book, happening)
            except InvalidEvent as error:
                _log.warning("playbook %s: %s", book.name, error)
                yield str(error)
            except Exception as error:
                # one event must not block the others
                _log.exception("playbook %s: event %s/%s", book.name, chosen.source, chosen.external_id)
                yield FlowError(f"{chosen.source}/{chosen.external_id}: {type(error).__name__}: {error}")
            else:
                yield made


def _end_cancelled(
    engine: Engine, book: Playbook, every: Sequence[Event], names: Collection[str]
) -> Iterator[str]:
    """End the runs of cancelled events at the time of cancellation."""
    for event in every:
        if not event.cancelled or event.updated_at is None:
            continue
        for identity in list_event_names(event):
            if playbooks.make_watch_name(book, identity) not in names:
                continue
            with engine.begin() as conn:
                for watch in find_running_watches(conn, book, identity).values():
                    # a watch must end after it starts
                    end = max(event.updated_at, watch.start + timedelta(seconds=1))
                    if (watch.end is None or end < watch.end) and watches.apply(
                        conn, replace(watch, end=end)
                    ).created:
                        _log.info("watch %s ends: %s was cancelled", watch.name, identity)
                        yield f"{identity} was cancelled; its watch {watch.name} ends at {end.isoformat()}"
