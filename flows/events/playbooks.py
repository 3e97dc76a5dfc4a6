"""Playbooks: what to do about events of one kind, as YAML that a person writes."""

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
from segwatch.flows.config.cadence import GRACE, pauses_at_most
from segwatch.flows.config.yaml_document import MAX_BYTES, from_yaml
from segwatch.flows.errors import ConfigError
from segwatch.geo.antimeridian import Bounds, box_of, is_box, meets
from segwatch.geo.grid import LONGEST_SIDE_M
from segwatch.geo.spelling import describe_errors
from segwatch.geo.types.event import Event, EventKind, EventLevel
from segwatch.geo.types.watch import Watch

_LEVELS = tuple(EventLevel)
#: A grid may be a little longer; projections stretch circles.
_LONGEST_SIDE_KM = 0.96 * LONGEST_SIDE_M / 1000
#: An hour, and ten years.
_MIN_DAYS, _MAX_DAYS = 1 / 24, 3650
_SOMEWHERE = box(10.0, 45.0, 10.1, 45.1)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Match(_Part):
    """Which events it is for. What a feed does not say matches no bound on it."""

    kinds: tuple[EventKind, ...] = Field(min_length=1)
    min_level: EventLevel | None = None
    min_magnitude: float | None = None
    min_population: int | None = Field(None, ge=0, description="people exposed")
    regions: tuple[tuple[float, float, float, float], ...] = Field(
        (),
        description="west, south, east, north; degrees; west > east across the antimeridian; empty = the world",
    )

    @field_validator("regions")
    @classmethod
    def _in_degrees(cls, regions: tuple[Bounds, ...]) -> tuple[Bounds, ...]:
        for one in regions:
            if not is_box(one):
                raise ValueError(f"{list(one)} is not west, south, east, north in degrees")
        return regions


class Area(_Part):
    """Where to look, where the event tells more than a place."""

    shake_intensity: float | None = Field(
        None,
        ge=1,
        le=10,
        description="ground that shook at least so much (modified Mercalli); None = do not ask",
    )


class Baseline(_Part):
    """Where to look for the picture from before."""

    days: int = Field(90, ge=1, le=3650)


class Source(_Part):
    """One source of imagery."""

    profile: str
    catalog: str | None = None
    catalog_name: str | None = Field(None, description="as in a watch")
    instruction: str | None = Field(None, description="what to ask of it, where that differs")
    targets: tuple[str, ...] | None = Field(None, description="of its instruction")
    only_after: bool = Field(False, description="taken only if it has a scene since the event; none may come")
    largest_km2: float | None = Field(None, gt=0, description="not asked about larger areas; None = any")

    @model_validator(mode="after")
    def _targets_of_its_own(self) -> Self:
        if self.targets is not None and self.instruction is None:
            raise ValueError("targets: they belong to an instruction; give both, or neither")
        return self


class Playbook(_Part):
    """What to do about events of one kind."""

    version: Literal[1]
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    title: str
    match: Match
    area: Area = Area()
    radius_km: float = Field(gt=0, description="around events without an area of their own")
    largest_km2: float = Field(50_000, gt=0)
    baseline: Baseline = Baseline()
    sources: tuple[Source, ...] = Field(min_length=1, description="in order of preference")
    days: float = Field(
        ge=_MIN_DAYS, le=_MAX_DAYS, description="how long to observe, from the event on; at least an hour"
    )
    watch: dict[str, Any] = Field(
        description="the rest of the watch file: instruction, targets, rules and the like"
    )

    @field_validator("radius_km")
    @classmethod
    def _one_grid_holds_it(cls, radius_km: float) -> float:
        if 2 * radius_km > _LONGEST_SIDE_KM:
            raise ValueError(
                f"a circle of {2 * radius_km:g} km is too large for one watch; at most {_LONGEST_SIDE_KM / 2:g}"
            )
        return radius_km

    @model_validator(mode="after")
    def _only_earthquakes_shake(self) -> Self:
        if self.area.shake_intensity is not None and EventKind.EARTHQUAKE not in self.match.kinds:
            raise ValueError("area.shake_intensity: only earthquakes have one; leave it out")
        return self

    @model_validator(mode="after")
    def _always_a_source(self) -> Self:
        if all(one.only_after or one.largest_km2 is not None for one in self.sources):
            raise ValueError(
                "sources: one must be without only_after and largest_km2, to be taken when no other is"
            )
        return self

    def matches(self, event: Event) -> bool:
        """Whether it is for this event."""
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
            and (not rule.regions or any(meets(event.geometry, box_of(one)) for one in rule.regions))
        )

    def watch_over(self, area: BaseGeometry, since: datetime, identity: str, source: Source) -> Watch:
        """The watch of one event; ``identity`` names the event, the same always."""
        asked = source.model_dump(include={"instruction", "targets"}, exclude_none=True)
        document = {
            **self.watch,
            **({"targets": ()} | asked if asked else {}),
            "version": 1,
            "name": watch_name(self, identity),
            "area": {"geojson": mapping(area)},
            "source": source.model_dump(include={"profile", "catalog", "catalog_name"}, exclude_none=True),
            "start": since.isoformat(),
            "end": (since + timedelta(days=self.days)).isoformat(),
        }
        return watchfile.parse(document, base=Path(), name=f"playbook {self.name}")


def _reaches(said: float | None, least: float | None) -> bool:
    """Whether a bound is reached; what is not said reaches none."""
    return least is None or (said is not None and said >= least)


def watch_name(playbook: Playbook, identity: str) -> str:
    """Name of the watch of one event: readable, and no other event's."""
    readable = re.sub(r"[^a-z0-9]+", "-", identity.lower()).strip("-")[:20].strip("-")
    return f"{playbook.name}-{readable or 'event'}-{sha256(identity.encode()).hexdigest()[:8]}"


def load_each(folder: Path | None = None) -> tuple[list[Playbook], list[str]]:
    """The playbooks of a folder, or those that ship with segwatch, by name; and why other files cannot be used.

    Raises
    ------
    ConfigError
        There is no such folder.
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
    # nobody can say which of two is meant
    return [one for one in books if one.name not in twice], failed


def load_all(folder: Path | None = None) -> list[Playbook]:
    """As :func:`load_each`, where every file can be used.

    Raises
    ------
    ConfigError
        Naming the file, the field, the value and the fix.
    """
    books, failed = load_each(folder)
    if failed:
        raise ConfigError("\n".join(failed))
    return books


def by_name(books: Sequence[Playbook], name: str) -> Playbook:
    """One of them.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    for one in books:
        if one.name == name:
            return one
    raise ConfigError(
        f"no playbook is named {name!r}; there are: {', '.join(one.name for one in books) or 'none'}"
    )


def _parse(content: bytes, name: str) -> Playbook:
    document = from_yaml(content, name)
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: expected a mapping at the top, got {type(document).__name__}")
    try:
        book = Playbook.model_validate(document)
    except ValidationError as error:
        raise ConfigError(
            f"{name}:\n{describe_errors(error, model=Playbook)}\nfields: {', '.join(sorted(Playbook.model_fields))}"
        ) from error
    begun = datetime.fromisoformat("2024-01-01T00:00:00+00:00")
    for source in book.sources:
        try:
            book.watch_over(_SOMEWHERE, begun, "a try", source)
        except ConfigError as error:
            raise ConfigError(f"{name}: watch: {error}") from error
    _check_cadence(book, name)
    return book


def _check_cadence(book: Playbook, name: str) -> None:
    """Whenever an event happens, the schedule comes while its watch lives: a disaster is no time to find out."""
    cron = book.watch.get("schedule")
    if cron is None:
        return
    lives = timedelta(days=book.days) + GRACE
    if not pauses_at_most(cron, lives):
        raise ConfigError(
            f"{name}: watch.schedule: pauses for longer than a watch of this playbook lives, "
            f"{lives / timedelta(days=1):g} days; let it come more often (got {cron!r})"
        )
