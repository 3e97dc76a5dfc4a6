"""``segwatch.connect()``: a read-only session on a ledger, and its results as tables, rasters and histories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import geopandas
import pandas as pd

from segwatch.client import accuracies, areas, columns, frames
from segwatch.client.arguments import BoxLike, TimeLike, parse_box, parse_id, parse_time
from segwatch.client.errors import BadRequest, ConnectFailed, UnknownObject, UnknownWatch
from segwatch.client.ledger import LedgerSource
from segwatch.client.sources import PAGE_ROWS, Source
from segwatch.client.web_api import WebSource
from segwatch.db.analyst.pages import Condition, Moment, Query
from segwatch.db.errors import DbError
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.errors import ConfigError
from segwatch.flows.runtime import assemble
from segwatch.flows.services import environment
from segwatch.geo import identity
from segwatch.geo.text.spelling import find_nearest

if TYPE_CHECKING:
    import xarray as xr

    from segwatch.client.scenes import WatchImagery

_NOT_ASSESSED = "not assessed"


def connect(target: str | None = None, *, token: str | None = None) -> Session:
    """Open a read-only session.

    Parameters
    ----------
    target
        ``None``: the ledger that the settings name (``SEGWATCH_ANALYST_URL``, ``SEGWATCH_DATABASE_URL``), else the
        one of the home folder (``SEGWATCH_HOME``, by default ``.segwatch`` in the current folder), as the analyst.
        ``postgresql://...``: that database. ``http://...`` or ``https://...``: a server started by ``segwatch serve``.
    token
        Token for a server that asks for one.

    Raises
    ------
    segwatch.errors.ConnectFailed
        Nothing answers there; the message says what to start or which setting to change.
    segwatch.errors.AccessRefused
        A password or token is missing or refused.

    Examples
    --------
    >>> import segwatch
    >>> with segwatch.connect() as s:
    ...     print(s.watches().watch.tolist())
    """
    settings = _load_settings()
    scheme = urlsplit(target).scheme if target else ""
    if scheme in {"http", "https"}:
        return Session(WebSource(str(target), token), settings)
    if token is not None:
        raise BadRequest("a token is for servers: segwatch.connect('https://...', token=...)")
    if target is None:
        return Session(LedgerSource(_find_url(settings)), settings)
    if scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise ConnectFailed(
            "connect() takes nothing (the ledger of the home folder), 'postgresql://USER@HOST:PORT/DATABASE', or the "
            "address of a server of segwatch such as 'http://127.0.0.1:8080'"
        )
    return Session(LedgerSource(target), settings)


def _load_settings() -> FlowSettings:
    """Read the settings as the command line does: what runs in the home folder adds what is not set."""
    import os

    try:
        settings = load_settings()
        found = environment.find_missing(settings.home, os.environ)
        hosts = found.get("SEGWATCH_IMAGERY_HOSTS")
        return settings if hosts is None else load_settings(imagery_hosts=json.loads(hosts))
    except ConfigError as error:
        raise ConnectFailed(str(error)) from error


def _find_url(settings: FlowSettings) -> str:
    try:
        return assemble.make_analyst_url(settings)
    except DbError as error:
        raise ConnectFailed(
            f"{error}; or name another ledger: SEGWATCH_HOME, SEGWATCH_ANALYST_URL, or "
            "segwatch.connect('postgresql://USER@HOST:PORT/DATABASE'). The home folder is "
            f"{Path(settings.home).absolute()}"
        ) from error


class Session:
    """A read-only session; made by :func:`connect`, closed by :meth:`close` or at the end of a ``with`` block.

    Tables are GeoDataFrames in EPSG:4326 with areas in geodesic square metres and times in UTC; their columns, dtypes
    and units are listed in the reference. ``attrs`` of each table says what its numbers are worth: ``accuracy`` (the
    newest assessment of the watch in words, or "not assessed"), ``model``, ``is_demonstration_model``,
    ``gsd_m``, ``units``, ``source`` and ``read_at``. Threads may share a session.
    """

    def __init__(self, source: Source, settings: FlowSettings) -> None:
        self._source = source
        self._settings = settings

    def __repr__(self) -> str:
        return f"<segwatch session on {self._source.where}, read-only>"

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; tables that were read stay, cubes that were not computed cannot be any more."""
        self._source.close()

    # -- tables ------------------------------------------------------------------------------------------

    def watches(self) -> geopandas.GeoDataFrame:
        """Read every watch with its instruction, source, schedule and smallest sizes; the geometry is its AOI."""
        return self._read(columns.WATCHES, None)

    def objects(
        self,
        watch: str,
        *,
        at: TimeLike | None = None,
        known_at: TimeLike | None = None,
        bbox: BoxLike | None = None,
    ) -> geopandas.GeoDataFrame:
        """Read the objects of a watch: those on the ground now, or those of a time.

        Objects that a review rejected are left out, as everywhere.

        Parameters
        ----------
        at
            When the objects were on the ground; a date means its whole day, None = now.
        known_at
            As it was known then, with the scenes and verdicts recorded until then; a date means its whole day, None =
            as it is known now.
        bbox
            Only objects that meet this box: west, south, east, north in degrees.

        Raises
        ------
        segwatch.errors.UnknownWatch
            No watch has this name.
        """
        if at is None:
            if known_at is not None:
                raise BadRequest("known_at needs at: give the time at which the objects were on the ground")
            return self._read(columns.OBJECTS, watch, bbox=bbox)
        moment = Moment(_require_time(at, "at"), parse_time(known_at, "known_at", whole_day=True))
        return self._read(columns.OBJECTS_AS_OF, watch, bbox=bbox, moment=moment)

    def states(self, watch: str, *, bbox: BoxLike | None = None) -> geopandas.GeoDataFrame:
        """Read every recorded state of the objects of a watch, with valid time and recorded time.

        Rows with ``in_force`` are what is known now; the others show what was known before.
        """
        return self._read(columns.STATES, watch, bbox=bbox)

    def changes(
        self,
        watch: str,
        *,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bbox: BoxLike | None = None,
    ) -> geopandas.GeoDataFrame:
        """Read the changes of a watch by the time they happened on the ground, from ``start`` to before ``end``.

        All of them: ``baseline`` is true for what was there when its ground was first observed, ``retracted_at`` is set
        for what does not hold any more, and ``status`` tells what later observations confirmed or refuted.
        """
        return self._read(columns.CHANGES, watch, start=start, end=end, bbox=bbox)

    def alerts(
        self,
        watch: str,
        *,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bbox: BoxLike | None = None,
    ) -> geopandas.GeoDataFrame:
        """Read the alerts of a watch raised from ``start`` to before ``end``, with their status and deliveries."""
        return self._read(columns.ALERTS, watch, start=start, end=end, bbox=bbox)

    def coverage(
        self,
        watch: str,
        *,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bbox: BoxLike | None = None,
    ) -> geopandas.GeoDataFrame:
        """Read what was observed when, what was not, and why; the geometry is the observed footprint.

        Every observation and every rejected item acquired from ``start`` to before ``end``.
        """
        return self._read(columns.COVERAGE, watch, start=start, end=end, bbox=bbox)

    def detections(
        self,
        watch: str,
        *,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bbox: BoxLike | None = None,
    ) -> geopandas.GeoDataFrame:
        """Read the polygons as the model found them in each scene; reviews do not apply to them."""
        return self._read(columns.DETECTIONS, watch, start=start, end=end, bbox=bbox)

    def pages(
        self,
        table: str,
        watch: str,
        *,
        rows: int = PAGE_ROWS,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bbox: BoxLike | None = None,
    ) -> Iterator[geopandas.GeoDataFrame]:
        """Read a large table in parts of at most ``rows`` rows; memory follows the part, not the table.

        Parameters
        ----------
        table
            ``objects``, ``states``, ``changes``, ``alerts``, ``coverage`` or ``detections``.
        """
        if table not in columns.TABLES:
            raise BadRequest(f"there is no table {table!r}; there are: {', '.join(columns.TABLES)}")
        if rows < 1:
            raise BadRequest(f"rows: {rows} is too few; at least 1")
        kind = columns.TABLES[table]
        query = _make_query(kind, watch, start=start, end=end, bbox=bbox)
        facts = self._gather_facts(kind, watch)
        yield from frames.make_frames(kind, self._source.stream_pages(query, rows), facts)

    # -- over time ---------------------------------------------------------------------------------------

    def history(self, of: object) -> geopandas.GeoDataFrame:
        """Read how an object changed: one row per observation that looked at it, oldest first.

        As known now. ``area_m2`` is its area from ``valid_from`` on, ``confidence`` and ``status`` how sure that is,
        ``change`` what began the state, ``alive`` false once it is gone, and ``item_hrefs`` link to the imagery.

        Parameters
        ----------
        of
            ``object_id`` or ``track_id``, or a row of :meth:`objects`.

        Raises
        ------
        segwatch.errors.UnknownObject
            No object has this id.
        """
        wanted = parse_id(of)
        table = columns.STATES
        for name in ("object_id", "track_id"):
            conditions = (Condition(name, "=", wanted), Condition("in_force", "=", True))
            query = Query(table.view, tuple(table.columns), ("valid_from", *table.key), conditions)
            pages = list(self._source.stream_pages(query, PAGE_ROWS))
            if pages:
                return frames.make_frame(table, pages, self._gather_facts(table, pages[0][0]["watch"]))
        raise UnknownObject(f"there is no object {wanted}; s.objects(watch) lists those on the ground now")

    def areas(self, watch: str, *, bbox: BoxLike | None = None) -> pd.DataFrame:
        """Sum up the area of each target at the time of each observed scene, as known now.

        Returns
        -------
        pandas.DataFrame
            By ``target`` and ``acquired_at``: ``area_m2`` of all objects that are not refuted, ``confirmed_m2`` of
            those that observations confirmed or that are not judged (baseline), and ``objects``, their number.
            ``clear_share`` is how much of the AOI the scene showed: where it did not look, the last known state
            counts.
        """
        states, coverage = self.states(watch, bbox=bbox), self.coverage(watch)
        made = areas.sum_areas(states, coverage)
        made.attrs = {**states.attrs, "units": {**areas.UNITS}}
        return made

    def accuracy(self, watch: str) -> pd.DataFrame:
        """Read the newest assessment of a watch: accuracies and areas estimated from labels, with 95 % intervals.

        Returns
        -------
        pandas.DataFrame
            One row per ``target`` and ``measure`` (``users``, ``producers``, ``overall``: accuracies of the map, 0..1;
            ``objects``, ``changes``: share that is true, 0..1; ``area_m2``: geodesic area) with ``value``, ``low``,
            ``high``, ``labels`` and ``drawn_at``; without those for which too few samples are labelled. Empty: not
            assessed.
        """
        self._require_watch(watch)
        made = accuracies.make_table(self._source.read_accuracy(watch))
        made.attrs.update(self._gather_facts(columns.DETECTIONS, watch))
        made.attrs["units"] = dict(accuracies.UNITS)
        return made

    # -- imagery -----------------------------------------------------------------------------------------

    def scenes(
        self,
        watch: str,
        *,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bbox: BoxLike | None = None,
        states: Sequence[str] | None = ("observed",),
        chunk: int = 1024,
    ) -> xr.Dataset:
        """Open the scenes of a watch as one raster over time; pixels are read when they are computed.

        On the grid on which the watch is segmented: its UTM zone and ground sample distance, so that scenes lie pixel
        on pixel. Read as the model's pixels are: by the source's profile, from its hosts alone, and only the windows
        that are computed.

        Parameters
        ----------
        bbox
            Only this part: west, south, east, north in degrees.
        states
            Scenes whose observation is in one of these states, as in :meth:`coverage`; None = all.
        chunk
            Height and width of the parts that are read at once, pixels.

        Returns
        -------
        xarray.Dataset
            ``pixels`` (time, band, y, x) float32, NaN where there is no data; ``valid`` and ``clear`` (time, y, x)
            bool; per scene: ``scene_id``, ``scene_key``, ``state``, ``item_hrefs``; ``spatial_ref`` is the grid
            mapping.
        """
        from segwatch.client import cubes

        return cubes.make_scenes(
            self.open_imagery(watch), parse_span(start, end), parse_box(bbox), states, chunk
        )

    def cube(
        self,
        watch: str,
        *,
        targets: Sequence[str] | None = None,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        bbox: BoxLike | None = None,
        chunk: int = 1024,
    ) -> xr.Dataset:
        """Open the observed scenes of a watch with what the model found in each; see :meth:`scenes`.

        Parameters
        ----------
        targets
            Targets of the instruction; None = all of them.

        Returns
        -------
        xarray.Dataset
            As :meth:`scenes`, and ``prediction`` (time, target, y, x) uint8: 1 where the scene's detections are, 0
            where the ground was observed without one, 255 where it was not observed; per scene ``model``.
        """
        from segwatch.client import cubes

        return cubes.make_cube(
            self.open_imagery(watch), parse_span(start, end), parse_box(bbox), targets, chunk
        )

    def open_imagery(self, watch: str) -> WatchImagery:
        """Open the imagery of a watch window by window, which rasters and plots read."""
        from segwatch.client.scenes import WatchImagery

        row = self._require_watch(watch)
        facts = self._gather_facts(columns.DETECTIONS, watch)
        return WatchImagery(self._source, self._settings, row, facts)

    # -- reading -----------------------------------------------------------------------------------------

    def _read(self, table: columns.Table, watch: str | None, **asked: Any) -> geopandas.GeoDataFrame:
        facts = self._gather_facts(table, watch)
        query = _make_query(table, watch, **asked)
        return frames.make_frame(table, self._source.stream_pages(query, PAGE_ROWS), facts)

    def _require_watch(self, watch: str) -> Mapping[str, Any]:
        """Read the row of a watch.

        Raises
        ------
        UnknownWatch
            No watch has this name.
        """
        query = _make_query(columns.WATCHES, None)
        rows = [row for page in self._source.stream_pages(query, PAGE_ROWS) for row in page]
        known = {str(row["watch"]): row for row in rows}
        if watch in known:
            return known[watch]
        nearest = find_nearest(str(watch), known)
        hint = f"did you mean {nearest!r}?" if nearest else f"there are: {', '.join(sorted(known)) or 'none'}"
        raise UnknownWatch(f"there is no watch {watch!r}; {hint}")

    def _gather_facts(self, table: columns.Table, watch: str | None) -> dict[str, Any]:
        """Gather what belongs beside every table, as values that JSON can hold."""
        facts: dict[str, Any] = {
            "source": self._source.where,
            "read_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "units": {name: kind.unit for name, kind in table.columns.items() if kind.unit},
        }
        if watch is None:
            return facts
        gsd_m = self._require_watch(watch)["gsd_m"]
        model = self._find_model(watch)
        words = [str(one) for one in self._source.read_accuracy(watch)["words"]]
        return facts | {
            "watch": watch,
            "accuracy": _NOT_ASSESSED if words in ([], [_NOT_ASSESSED]) else "; ".join(words),
            "model": model,
            "is_demonstration_model": identity.is_demonstration(model),
            "gsd_m": float(gsd_m),
        }

    def _find_model(self, watch: str) -> str | None:
        """Find the model of the observation that was published last; None before the first."""
        wanted = (
            Condition("watch", "=", watch),
            Condition("committed_at", "<>", None),
            Condition("model", "<>", None),
        )
        names = ("model", "committed_at", "observation_id")
        query = Query("coverage", names, ("-committed_at", "observation_id"), wanted, limit=1)
        return next((row["model"] for page in self._source.stream_pages(query, 1) for row in page), None)


def _require_time(given: TimeLike, name: str) -> datetime:
    moment = parse_time(given, name, whole_day=True)
    if moment is None:
        raise BadRequest(f"{name} is missing")
    return moment


def parse_span(start: TimeLike | None, end: TimeLike | None) -> tuple[datetime | None, datetime | None]:
    """Convert the ends of a span of time.

    Raises
    ------
    BadRequest
        One of them is no time, or the end is before the start.
    """
    first, last = parse_time(start, "start"), parse_time(end, "end")
    if first is not None and last is not None and last < first:
        raise BadRequest(f"end {last.isoformat()} is before start {first.isoformat()}")
    return first, last


def _make_query(
    table: columns.Table,
    watch: str | None,
    *,
    start: TimeLike | None = None,
    end: TimeLike | None = None,
    bbox: BoxLike | None = None,
    moment: Moment | None = None,
) -> Query:
    first, last = parse_span(start, end)
    if (first or last) and not table.time:
        raise BadRequest("objects and their states have no single time; leave start and end out")
    conditions = [Condition("watch", "=", watch)] if watch is not None else []
    conditions += [Condition(table.time, ">=", first)] if first is not None else []
    conditions += [Condition(table.time, "<", last)] if last is not None else []
    order = (*table.order, *(name for name in table.key if name not in table.order))
    return Query(table.view, tuple(table.columns), order, tuple(conditions), parse_box(bbox), moment)
