"""Gather what a briefing says: two times of a watch compared, what was not seen, exposure, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Engine, RowMapping

from segwatch.db import analyst, watches
from segwatch.db.analyst import Outlines
from segwatch.db.errors import describe_error
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import ConfigError
from segwatch.flows.report import exposure, ground, places
from segwatch.flows.report.exposure import NO_LAYERS, Count, ExposureRefused, Ground, Layers
from segwatch.flows.report.figures import Figures, estimate_extent, estimate_gains
from segwatch.flows.report.ground import Changed
from segwatch.flows.report.happening import Happening, find_happening
from segwatch.flows.report.imagery import Background, read_background
from segwatch.flows.report.places import Place
from segwatch.flows.report.situation import Situation, gather
from segwatch.geo.antimeridian import compute_bounds, compute_bounds_centre
from segwatch.geo.area import compute_area_m2
from segwatch.geo.errors import TooComplex
from segwatch.geo.types.assessment import Accuracy

#: Objects whose outlines are read; of more, the largest.
MAX_OUTLINES = 20_000
#: States of objects that the maximum extent is made of.
_MAX_STATES = 50_000
#: Observation times at which the extent is summed up.
_MAX_MOMENTS = 24
#: Farther places say nothing about where an area is.
_MAX_PLACE_KM = 250.0

Note = tuple[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Request:
    """What a briefing is asked for."""

    watch: str
    since: datetime | None = None
    """The time to compare with; None = the event or the start of the watch."""
    until: datetime | None = None
    """The time to report on; None = now."""
    title: str = ""
    """Empty = event, place and time."""
    layers: Layers = NO_LAYERS


@dataclass(frozen=True, slots=True)
class Period:
    """The two times that a briefing compares."""

    before: datetime
    after: datetime
    observed: tuple[datetime, ...]
    """Acquisition times of all observations up to ``after``."""
    asked: datetime | None
    """The time to compare with that was asked for, or the onset of the event; None = the first observation."""
    has_before: bool
    """Whether anything was observed up to the time that was asked for; else the first observation stands for it."""

    @property
    def is_single(self) -> bool:
        """Whether there is one observation only, and none from before the time that was asked for."""
        return len(self.observed) == 1 and not self.has_before


@dataclass(frozen=True, slots=True)
class View:
    """The state at one time, for a map."""

    at: datetime
    outlines: Outlines
    unseen: BaseGeometry
    """Part of the area that no scene has shown: up to then (before), since then (after)."""
    background: Background | None
    no_background: str
    """Message of the catalogue that says why there is none."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Extent of the event over time."""

    moments: tuple[tuple[datetime, float], ...]
    """Observation time and geodesic m² that the targets covered then."""
    of_all: int
    """Number of observation times, also those left out."""
    ground_m2: float | None
    """Ground that was covered at any of the times; None = see ``reason``."""
    reason: str = ""

    @property
    def peak(self) -> tuple[datetime, float]:
        """When most was covered at one time."""
        return max(self.moments, key=lambda one: one[1])


@dataclass(frozen=True, slots=True)
class Briefing:
    """What is known about the area of a watch, in no language yet."""

    request: Request
    situation: Situation
    """The annexes."""
    happening: Happening
    place: Place | None
    centre: tuple[float, float]
    """Longitude and latitude of the area's middle."""
    area: BaseGeometry
    """EPSG:4326."""
    period: Period | None
    """None = nothing was observed."""
    before: View | None
    after: View | None
    changed: Changed
    totals: tuple[dict[str, Any], ...]
    """By target at the later time: ``objects``, ``confirmed``, ``area_m2``."""
    before_m2: float
    figures: Figures
    extent: Extent | None
    counts: tuple[Count, ...]
    unseen_share: float
    scene_states: dict[str, int]
    reasons: tuple[tuple[str, int], ...]
    """Why scenes were not used, and how often; the most frequent ones."""
    notes: tuple[Note, ...]
    contact: str
    live_url: str

    @property
    def moment(self) -> datetime:
        """The time that is reported on."""
        return self.period.after if self.period else self.request.until or self.situation.written_at

    @property
    def area_m2(self) -> float:
        """Geodesic area of interest."""
        return self.situation.area_km2 * 1e6


def gather_briefing(engine: Engine, settings: FlowSettings, request: Request) -> Briefing:
    """Gather a briefing of a watch.

    Raises
    ------
    ConfigError
        ``since`` is not before ``until``.
    segwatch.db.errors.UnknownWatch
        No watch has this name.
    """
    if request.since and request.until and request.since >= request.until:
        raise ConfigError("--from must be earlier than --to")
    situation = gather(engine, settings, request.watch, since=request.since, until=request.until)
    with engine.connect() as conn:
        area = watches.load_current(conn, request.watch).watch.area
        happening = find_happening(conn, settings, request.watch)
        observed = [row for row in situation.observed if row["acquired_at"] is not None]
        period = _choose_period(request, situation, happening, observed)
        found = _Findings(conn, settings, request, situation, area, period, observed)
        centre = compute_bounds_centre(compute_bounds(area))
        place = places.find_nearest(*centre)
        notes = [*found.notes] + ([] if places.has_gazetteer() else [("note.no_gazetteer", {})])
        return Briefing(
            request, situation, happening,
            place if place is not None and place.distance_km <= _MAX_PLACE_KM else None,
            centre, area, period, found.before, found.after, found.changed, found.totals, found.before_m2,
            found.figures, found.extent, found.counts, found.unseen_share,
            *_explain_scenes(situation, period), tuple(notes), settings.report_contact,
            f"{settings.public_url}/#{urlencode({'watch': request.watch})}" if settings.public_url else "",
        )  # fmt: skip


def _choose_period(
    request: Request, situation: Situation, happening: Happening, observed: Sequence[RowMapping]
) -> Period | None:
    moments = tuple(row["acquired_at"] for row in observed)
    if not moments:
        return None
    asked = request.since
    if asked is None and happening.event is not None:
        asked = happening.event.occurred_at
    elif asked is None and happening.kind is not None:
        asked = situation.since  # a run that was started by hand
    if asked is None or asked < moments[0]:
        return Period(moments[0], moments[-1], moments, asked, has_before=False)
    before = max(one for one in moments if one <= asked)
    return Period(before if request.since is None else asked, moments[-1], moments, asked, has_before=True)


def _explain_scenes(
    situation: Situation, period: Period | None
) -> tuple[dict[str, int], tuple[tuple[str, int], ...]]:
    """Count the scenes since the earlier time by state, and the reasons why some were not used."""
    rows = situation.scenes.to_dict("records")
    if period is not None and not period.is_single:
        rows = [row for row in rows if row["acquired_at"] is None or row["acquired_at"] > period.before]
    states: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for row in rows:
        states[row["state"]] = states.get(row["state"], 0) + 1
        if row["state"] in {"skipped", "failed", "rejected"} and row["reason"]:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    return states, tuple(sorted(reasons.items(), key=lambda one: -one[1])[:3])


class _Findings:
    """What the ledger says about the two times; parts that cannot be computed leave a note."""

    def __init__(
        self, conn: Connection, settings: FlowSettings, request: Request, situation: Situation,
        area: BaseGeometry, period: Period | None, observed: Sequence[RowMapping],
    ) -> None:  # fmt: skip
        self.notes: list[Note] = []
        self.before: View | None = None
        self.after: View | None = None
        self.changed = Changed()
        self.totals: tuple[dict[str, Any], ...] = ()
        self.before_m2 = 0.0
        self.extent: Extent | None = None
        self.counts: tuple[Count, ...] = ()
        self.unseen_share = 1.0
        self._conn, self._settings, self._watch, self._area = conn, settings, request.watch, area
        gains: list[dict[str, Any]] = []
        if period is not None:
            gains = self._compare(period, observed, request.layers)
        self.figures = self._make_figures(situation.accuracy, gains, is_observed=period is not None)

    def _make_figures(
        self, accuracy: Accuracy, gains: Sequence[dict[str, Any]], *, is_observed: bool
    ) -> Figures:
        people = next((one for one in self.counts if one.what == "people"), None)
        return Figures(
            sum(float(row["area_m2"]) for row in self.totals) if is_observed else None,
            estimate_extent(accuracy, self.totals),
            sum(int(row["objects"]) for row in gains),
            sum(int(row["confirmed"]) for row in gains),
            estimate_gains(accuracy, gains),
            people,
            self.extent.ground_m2 if self.extent and people is None else None,
        )

    def _compare(
        self, period: Period, observed: Sequence[RowMapping], layers: Layers
    ) -> list[dict[str, Any]]:
        conn, watch, area = self._conn, self._watch, self._area
        after = None if period.is_single else period.before
        self.after = self._view(period.after, observed, after, period.after)
        if not period.is_single:
            earlier = [row for row in observed if row["acquired_at"] <= period.before]
            self.before = self._view(period.before, earlier, None, period.before)
        unseen_m2 = compute_area_m2(self.after.unseen)
        self.unseen_share = min(1.0, unseen_m2 / compute_area_m2(area))
        self.totals = tuple(analyst.sum_objects(conn, watch, period.after, area))
        if self.before is not None:
            rows = analyst.sum_objects(conn, watch, period.before, area)
            self.before_m2 = sum(float(row["area_m2"]) for row in rows)
        try:
            self.changed = ground.compare(
                self.before.outlines if self.before else Outlines((), 0), self.after.outlines
            )
        except TooComplex as error:
            self.notes.append(("map.failed", {"reason": describe_error(error)}))
        else:
            self._count(layers)
        self.extent = self._measure_extent(period)
        if period.asked is not None and not period.has_before:
            self.notes.append(("map.no_before", {"when": period.asked}))
        if period.is_single:
            self.notes.append(("map.one", {}))
            return []
        return analyst.count_gains(conn, watch, period.before, period.after)

    def _view(
        self, at: datetime, observed: Sequence[RowMapping], after: datetime | None, until: datetime
    ) -> View:
        outlines = analyst.list_outlines(self._conn, self._watch, at, self._area, MAX_OUTLINES)
        unseen = analyst.find_unseen(self._conn, self._watch, self._area, after=after, until=until)
        return View(at, outlines, ground.keep_areas(unseen), *read_background(self._settings, observed))

    def _count(self, layers: Layers) -> None:
        wanted = [
            (what, path, count)
            for what, path, count in (
                ("people", layers.population, exposure.count_people),
                ("buildings", layers.buildings, exposure.count_buildings),
                ("roads", layers.roads, exposure.measure_roads),
            )
            if path is not None
        ]
        if self.after is None or not wanted:
            return
        divided, reason = self._divide(self.after)
        counts = []
        for what, path, count in wanted:
            try:
                if divided is None:
                    raise ExposureRefused(reason)
                counts.append(count(divided, path))
            except ExposureRefused as error:
                self.notes.append(("exposure.failed", {"what": what, "reason": str(error)}))
        self.counts = tuple(counts)

    def _divide(self, after: View) -> tuple[Ground | None, str]:
        """Divide the area into affected, unaffected and unseen ground; else say why that cannot be done."""
        for view in (self.before, after):
            if view is not None and view.outlines.of_all > len(view.outlines.objects):
                return None, f"there are {view.outlines.of_all} objects, more than {MAX_OUTLINES}"
        try:
            return ground.divide(self._area, self.changed, after.unseen), ""
        except TooComplex as error:
            return None, describe_error(error)

    def _measure_extent(self, period: Period) -> Extent:
        since = [one for one in period.observed if one >= period.before]
        moments = _thin_out(since, _MAX_MOMENTS)
        sums = tuple(analyst.list_extents(self._conn, self._watch, moments, self._area))
        states, of_all = analyst.list_states(self._conn, self._watch, moments, self._area, _MAX_STATES)
        if of_all > _MAX_STATES:
            return Extent(sums, len(since), None, f"there are {of_all} outlines, more than {_MAX_STATES}")
        try:
            return Extent(sums, len(since), ground.measure_union(states, self._area))
        except TooComplex as error:
            return Extent(sums, len(since), None, describe_error(error))


def _thin_out(moments: Sequence[datetime], most: int) -> list[datetime]:
    """Keep the first and the last of the moments, and some in between in equal steps."""
    if len(moments) <= most:
        return list(moments)
    return [moments[round(number * (len(moments) - 1) / (most - 1))] for number in range(most)]


def write_version(at: datetime) -> str:
    """Write the version of a briefing: when it was written, UTC."""
    return f"{at.astimezone(UTC):%Y%m%d-%H%M}"
