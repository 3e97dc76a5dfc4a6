"""Playbooks: YAML files that say which watch to start when an event of a kind comes in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from segwatch.flows.config import watchfile
from segwatch.flows.config.cadence import GRACE, fires_at_least_every
from segwatch.flows.config.yaml_document import MAX_BYTES, parse_yaml
from segwatch.flows.errors import ConfigError
from segwatch.geo.antimeridian import Bounds, intersects, is_bounding_box, to_box
from segwatch.geo.grid import MAX_SIDE_M
from segwatch.geo.text.spelling import describe_errors, find_nearest
from segwatch.geo.types.event import Event, EventKind, EventLevel
from segwatch.geo.types.watch import AlertStatus, Watch

_LEVELS = tuple(EventLevel)
#: Less than the limit of a pixel grid, because projections stretch circles.
_MAX_SIDE_KM = 0.96 * MAX_SIDE_M / 1000
#: One hour to ten years.
_MIN_DAYS, _MAX_DAYS = 1 / 24, 3650
#: Placeholder AOI with which playbooks are validated.
_SAMPLE_AREA = box(10.0, 45.0, 10.1, 45.1)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Match(_Part):
    """Which events the playbook is for. An event without a value does not match a limit on it."""

    kinds: tuple[EventKind, ...] = Field(min_length=1, description="Kinds of event that match.")
    min_level: EventLevel | None = Field(None, description="Lowest alert level that matches.")
    min_magnitude: float | None = Field(None, description="Lowest magnitude or severity that matches.")
    min_population: int | None = Field(
        None, ge=0, description="Lowest number of exposed people that matches."
    )
    regions: tuple[tuple[float, float, float, float], ...] = Field(
        (),
        description="Boxes that the event must touch: west, south, east, north in degrees, west > east across the "
        "antimeridian; empty = the world.",
    )

    @field_validator("regions")
    @classmethod
    def _in_degrees(cls, regions: tuple[Bounds, ...]) -> tuple[Bounds, ...]:
        for one in regions:
            if not is_bounding_box(one):
                raise ValueError(f"{list(one)} is not west, south, east, north in degrees")
        return regions


class EventArea(_Part):
    """How the AOI is computed from the event."""

    shake_intensity: float | None = Field(
        None,
        ge=1,
        le=10,
        description="Use the area of the ShakeMap with at least this intensity (modified Mercalli). Default: no "
        "ShakeMap.",
    )


class BaselineSearch(_Part):
    """Which scenes may show the state before the event."""

    days: int = Field(90, ge=1, le=3650, description="Maximum age of such a scene at the event.")


class PlaybookSource(_Part):
    """A source of imagery that disaster runs may use."""

    profile: str = Field(description="Name of the profile, as in a watch file.")
    catalog: str | None = Field(None, description="URL of the catalog, as in a watch file.")
    catalog_name: str | None = Field(None, description="Identity of the catalog, as in a watch file.")
    instruction: str | None = Field(
        None, description="Instruction for this source. Default: the instruction of `watch`."
    )
    targets: tuple[str, ...] | None = Field(None, description="Targets of this source's instruction.")
    only_after: bool = Field(
        False, description="Use this source only if it already has a scene since the event."
    )
    largest_km2: float | None = Field(
        None, gt=0, description="Do not use this source for larger areas. Default: no limit."
    )

    @model_validator(mode="after")
    def _targets_of_its_own(self) -> Self:
        if self.targets is not None and self.instruction is None:
            raise ValueError("targets: they belong to an instruction; give both or neither")
        return self


class Playbook(_Part):
    """Which watch to start when an event of a kind comes in."""

    version: Literal[1] = Field(description="Version of this format.")
    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]{0,30}$", description="Unique name; names of its watches begin with it."
    )
    title: str = Field(description="One line for lists.")
    match: Match = Field(description="Which events the playbook is for.")
    area: EventArea = Field(EventArea(), description="How the AOI is computed from the event.")
    radius_km: float = Field(gt=0, description="Radius of the AOI around events that have no area.")
    largest_km2: float = Field(50_000, gt=0, description="Larger events are refused.")
    baseline: BaselineSearch = Field(
        BaselineSearch(), description="Which scenes may show the state before the event."
    )
    sources: tuple[PlaybookSource, ...] = Field(min_length=1, description="Sources in order of preference.")
    days: float = Field(
        ge=_MIN_DAYS, le=_MAX_DAYS, description="How long to observe, in days from the event on."
    )
    watch: dict[str, Any] = Field(
        description="Further fields of the watch file: instruction, targets, rules and the like. Rules are "
        "`status: provisional` unless they say otherwise."
    )

    @field_validator("radius_km")
    @classmethod
    def _one_grid_holds_it(cls, radius_km: float) -> float:
        if 2 * radius_km > _MAX_SIDE_KM:
            raise ValueError(
                f"a circle {2 * radius_km:g} km wide is too large for one watch; write at most {_MAX_SIDE_KM / 2:g}"
            )
        return radius_km

    @model_validator(mode="after")
    def _only_earthquakes_shake(self) -> Self:
        if self.area.shake_intensity is not None and EventKind.EARTHQUAKE not in self.match.kinds:
            raise ValueError("area.shake_intensity: only earthquakes have a ShakeMap; leave it out")
        return self

    @model_validator(mode="after")
    def _always_a_source(self) -> Self:
        if all(one.only_after or one.largest_km2 is not None for one in self.sources):
            raise ValueError("sources: one must have neither only_after nor largest_km2, as the fallback")
        return self

    def matches(self, event: Event) -> bool:
        """Whether the playbook is for this event."""
        rule = self.match
        return (
            not event.cancelled
            and event.kind in rule.kinds
            and (
                rule.min_level is None
                or (event.level is not None and _LEVELS.index(event.level) >= _LEVELS.index(rule.min_level))
            )
            and _reaches(event.magnitude, rule.min_magnitude)
            and _reaches(event.population, rule.min_population)
            and (not rule.regions or any(intersects(event.geometry, to_box(one)) for one in rule.regions))
        )

    def watch_over(self, area: BaseGeometry, since: datetime, identity: str, source: PlaybookSource) -> Watch:
        """Make the watch of an event; ``identity`` is the event's stable name."""
        own = source.model_dump(include={"instruction", "targets"}, exclude_none=True)
        document = {
            **self.watch,
            **({"targets": ()} | own if own else {}),
            "version": 1,
            "name": make_watch_name(self, identity),
            "area": {"geojson": mapping(area)},
            "source": source.model_dump(include={"profile", "catalog", "catalog_name"}, exclude_none=True),
            "start": since.isoformat(),
            "end": (since + timedelta(days=self.days)).isoformat(),
        }
        rules = self.watch.get("rules")
        if isinstance(rules, list):
            document["rules"] = [_set_default_status(rule) for rule in rules]
        return watchfile.parse(document, base=Path(), name=f"playbook {self.name}")


def _set_default_status(rule: Any) -> Any:
    """Have a rule alert on the first evidence unless it says otherwise: in a disaster, waiting costs more."""
    return {"status": AlertStatus.PROVISIONAL.value, **rule} if isinstance(rule, dict) else rule


def _reaches(value: float | None, least: float | None) -> bool:
    return least is None or (value is not None and value >= least)


def make_watch_name(playbook: Playbook, identity: str) -> str:
    """Make the name of an event's watch: readable, unique and stable."""
    readable = re.sub(r"[^a-z0-9]+", "-", identity.lower()).strip("-")[:20].strip("-")
    return f"{playbook.name}-{readable or 'event'}-{sha256(identity.encode()).hexdigest()[:8]}"


def load_each(folder: Path | None = None) -> tuple[list[Playbook], list[str]]:
    """Load the playbooks of a folder, or those that ship with segwatch, sorted by file name.

    Returns
    -------
    list[Playbook]
        The valid ones.
    list[str]
        Why each other file is invalid.

    Raises
    ------
    ConfigError
        The folder does not exist.
    """
    where = folder if folder is not None else files("segwatch.flows.events") / "playbooks_data"
    if not where.is_dir():
        raise ConfigError(f"{folder}: no such folder of playbooks; see SEGWATCH_PLAYBOOKS")
    found = sorted(
        (one for one in where.iterdir() if one.name.endswith((".yaml", ".yml"))), key=lambda one: one.name
    )
    books: list[Playbook] = []
    failed: list[str] = []
    for one in found:
        try:
            with one.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            books.append(_parse(content, str(one)))
        except ConfigError as error:
            failed.append(str(error))
        except OSError as error:
            failed.append(f"{one}: cannot be read: {error.strerror}")
    names = [one.name for one in books]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        failed.append(f"{where}: two playbooks are named {', '.join(sorted(twice))}; names must differ")
    # of two with the same name, neither is used
    return [one for one in books if one.name not in twice], failed


def load_all(folder: Path | None = None) -> list[Playbook]:
    """Load playbooks as :func:`load_each` does, but raise if a file is invalid.

    Raises
    ------
    ConfigError
        Names the file, the field, the value and the fix.
    """
    books, failed = load_each(folder)
    if failed:
        raise ConfigError("\n".join(failed))
    return books


def find_playbook(books: Sequence[Playbook], name: str) -> Playbook:
    """Return the playbook of a name.

    Raises
    ------
    ConfigError
        No playbook has this name.
    """
    for one in books:
        if one.name == name:
            return one
    known = [one.name for one in books]
    near = find_nearest(name, known)
    hint = f"did you mean {near}? " if near else ""
    raise ConfigError(f"no playbook is named {name!r}; {hint}known are: {', '.join(known) or 'none'}")


def _parse(content: bytes, name: str) -> Playbook:
    document = parse_yaml(content, name)
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: expected a mapping at the top level, got {type(document).__name__}")
    try:
        book = Playbook.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{name}:\n{describe_errors(error, model=Playbook)}") from error
    begun = datetime.fromisoformat("2024-01-01T00:00:00+00:00")
    for source in book.sources:
        try:
            book.watch_over(_SAMPLE_AREA, begun, "a try", source)
        except ConfigError as error:
            raise ConfigError(f"{name}: watch: {error}") from error
    _check_cadence(book, name)
    return book


def _check_cadence(book: Playbook, name: str) -> None:
    """Check that the schedule fires during the watch of any event, whenever it happens."""
    cron = book.watch.get("schedule")
    if cron is None:
        return
    lifetime = timedelta(days=book.days) + GRACE
    if not fires_at_least_every(cron, lifetime):
        raise ConfigError(
            f"{name}: watch.schedule: may not fire during a watch of this playbook, which lasts "
            f"{lifetime / timedelta(days=1):g} days; write a schedule that fires more often (got {cron!r})"
        )
