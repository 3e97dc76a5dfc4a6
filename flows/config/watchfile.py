"""Watch files: YAML that a person writes -> :class:`segwatch.geo.types.watch.Watch`.

The format is validated once, here; every message names the file, the field, the value and the fix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import shapely
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from shapely.geometry.base import BaseGeometry

from segwatch.flows.alerting.channels import SERVICE
from segwatch.flows.config.cadence import GRACE, next_after, over
from segwatch.flows.config.geojson import from_file, from_geojson
from segwatch.flows.config.settings import describe
from segwatch.flows.config.times import Cron, Moment, Start, TimeOfDay, Zone
from segwatch.flows.config.yaml_document import MAX_BYTES, from_yaml
from segwatch.flows.errors import ConfigError
from segwatch.geo import grid as grids
from segwatch.geo.antimeridian import box_of, in_degrees, is_box
from segwatch.geo.errors import GeoError
from segwatch.geo.sources import profiles
from segwatch.geo.text.redaction import open_address
from segwatch.geo.text.storable import storable
from segwatch.geo.types.source import Profile
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import (
    AlertRule,
    Digest,
    Escalation,
    Instruction,
    Outlines,
    QuietHours,
    TrackingSettings,
    Watch,
)

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_URL = re.compile(r"^https?://[^\s/]+(/\S*)?$")


def _expand(text: str) -> str:
    """Replace ``${NAME}`` by the environment variable; an unset one is an error that names it."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ValueError(f"environment variable {name} is not set; set it or write the URL out")
        return os.environ[name]

    return _VARIABLE.sub(value, text)


def _catalog(text: str) -> str:
    expanded = _expand(text)
    if not _URL.match(expanded):
        raise ValueError("must be an http or https URL")
    return open_address(expanded).rstrip("/")


def _channel(text: str) -> str:
    expanded = _expand(text)
    if not SERVICE.match(expanded) and not _URL.match(expanded):
        raise ValueError("must be an http or https URL, or apprise:NAME of a service in SEGWATCH_SERVICES")
    return expanded


Catalog = Annotated[str, AfterValidator(_catalog)]
Channel = Annotated[str, AfterValidator(_channel)]
Share = Annotated[float, Field(ge=0, le=1)]
#: 30 days.
_MAX_ESCALATION_MINUTES = 43_200


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Area(_Part):
    bbox: tuple[float, float, float, float] | None = Field(
        None,
        description="west, south, east, north; degrees; west > east, or east > 180, across the antimeridian",
    )
    geojson: dict[str, Any] | None = Field(None, description="Polygon or MultiPolygon, EPSG:4326")
    file: str | None = Field(None, description="GeoJSON file, relative to the watch file")


class _Source(_Part):
    profile: str
    catalog: Catalog | None = None
    catalog_name: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$",
        description="names the catalog whatever its address; catalogs of one name are one catalog",
    )


class _Tracking(_Part):
    visible_min: Share = 0.2
    link_min: Share = 0.3
    gone_visible: Share = 0.8
    gone_after: int = Field(2, ge=1)
    min_change_m2: float = Field(1000.0, ge=0)
    min_change_ratio: float = Field(0.1, ge=0)
    tolerance_m: float | None = Field(None, gt=0, description="default: one pixel of the source")


class _Near(_Area):
    distance_m: float = Field(0.0, ge=0, le=100_000)


class _Quiet(_Part):
    begin: TimeOfDay
    end: TimeOfDay
    timezone: Zone = "UTC"

    @model_validator(mode="after")
    def _not_all_day(self) -> Self:
        if self.begin == self.end:
            raise ValueError("begin and end are the same; leave quiet hours out, or name two times")
        return self


class _Digest(_Part):
    at: TimeOfDay | None = Field(None, description="None = every full hour")
    timezone: Zone = "UTC"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {} if given == "hourly" else {"at": given}
        if not isinstance(given, dict) or given.get("at") is None:
            raise ValueError(
                'write hourly, a time of day in quotes as "07:00" (UTC), or {at: "07:00", timezone: Europe/Paris}'
            )
        return given


class _Escalate(_Part):
    after_minutes: float = Field(gt=0, le=_MAX_ESCALATION_MINUTES)
    channels: tuple[Channel, ...] = Field(min_length=1)


class _Rule(_Part):
    name: str
    kinds: tuple[ChangeKind, ...] = tuple(ChangeKind)
    min_area_m2: float = Field(0.0, ge=0)
    min_score: Share = 0.0
    min_growth: float = Field(0.0, ge=0, description="share of the area before")
    near: _Near | None = Field(None, description="an area, and a distance from it")
    once: bool = Field(False, description="only the first time, for each object")
    include_baseline: bool = False
    channels: tuple[Channel, ...] = ()
    quiet: _Quiet | None = None
    most_per_hour: int | None = Field(None, ge=1)
    escalate: _Escalate | None = None
    digest: _Digest | None = None

    @model_validator(mode="after")
    def _a_digest_is_one_message(self) -> Self:
        if self.digest and self.most_per_hour:
            raise ValueError("most_per_hour: a digest is one message; leave out most_per_hour or digest")
        return self

    @model_validator(mode="after")
    def _escalates_from_somewhere(self) -> Self:
        if self.escalate and not self.channels:
            raise ValueError("escalate: the rule has no channels of its own; name those that are told first")
        return self


class _WatchFile(_Part):
    """The whole file. ``version`` guards against files of a later format."""

    version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    instruction: str = Field(min_length=3, max_length=500)
    targets: tuple[str, ...] = ()
    area: _Area
    source: _Source
    start: Start
    end: Moment | None = None
    schedule: Cron | None = None
    priority: int = Field(100, ge=0, le=1000)
    min_polygon_m2: float = Field(500.0, ge=0)
    connectivity: Literal[4, 8] = 4
    outlines: Outlines = Outlines.EDGES
    max_cloud_cover: Share = 1.0
    max_failed_tiles: Share = 0.2
    tracking: _Tracking = _Tracking()
    rules: tuple[_Rule, ...] = ()


def load(path: Path) -> Watch:
    """Read one watch file.

    Raises
    ------
    ConfigError
        Naming the file, the field, the value and the fix.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(from_yaml(content, str(path)), base=path.parent, name=str(path))


def load_all(path: Path) -> Iterator[Watch]:
    """Every ``*.yaml``/``*.yml`` of a folder in name order, or the one file; the first invalid one ends it."""
    return (load(file) for file in _files(path))


def load_each(path: Path) -> tuple[list[Watch], list[str]]:
    """The watches of :func:`load_all`, and why each of the others cannot be used."""
    loaded: dict[str, tuple[Path, Watch]] = {}
    failed: list[str] = []
    for file in _files(path):
        try:
            watch = load(file)
        except ConfigError as error:
            failed.append(str(error))
            continue
        if watch.name in loaded:
            failed.append(f"{file}: name: {loaded[watch.name][0]} has it too; names must differ")
            continue
        loaded[watch.name] = file, watch
    return [watch for _, watch in loaded.values()], failed


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in {".yaml", ".yml"})
    if not files:
        raise ConfigError(f"{path}: no .yaml file in this folder")
    return files


def parse(document: object, *, base: Path, name: str) -> Watch:
    """Validate a parsed document; relative files are looked up under ``base``."""
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: expected a mapping at the top, got {type(document).__name__}")
    try:
        file = _WatchFile.model_validate(document)
    except ValidationError as error:
        known = ", ".join(sorted(_WatchFile.model_fields))
        raise ConfigError(f"{name}:\n{describe(error, model=_WatchFile)}\nfields: {known}") from error
    for where, text in _texts(file.model_dump()):
        if storable(text) != text:
            raise ConfigError(
                f"{name}: {where}: a character that cannot be stored (got {text!r}); take it out"
            )
    try:
        profile = profiles.load(file.source.profile)
    except GeoError as error:
        raise ConfigError(f"{name}: source.profile: {error}") from error
    return _build(file, profile, base, name)


def _texts(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a document, with its place."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for position, one in enumerate(value):
            yield from _texts(one, f"{where}.{position}")


def _rule(rule: _Rule, base: Path, name: str) -> AlertRule:
    plain = rule.model_dump(exclude={"near", "quiet", "escalate", "digest"})
    return AlertRule(
        **plain,
        region=_area(rule.near, base, f"{name}: rules.{rule.name}.near") if rule.near else None,
        region_distance_m=rule.near.distance_m if rule.near else 0.0,
        quiet=QuietHours(**rule.quiet.model_dump()) if rule.quiet else None,
        escalation=Escalation(**rule.escalate.model_dump()) if rule.escalate else None,
        digest=Digest(**rule.digest.model_dump()) if rule.digest else None,
    )


def _build(file: _WatchFile, profile: Profile, base: Path, name: str) -> Watch:
    catalog = file.source.catalog or profile.catalog
    if catalog is None:
        raise ConfigError(
            f"{name}: source.catalog: profile {profile.name} names no catalog; write its URL here"
        )
    if file.end is not None and file.end <= file.start:
        raise ConfigError(f"{name}: end {file.end.isoformat()} is not after start {file.start.isoformat()}")
    _check_comes_in_time(file, name)
    area = _area(file.area, base, name)
    try:
        grids.for_area(area, profile.gsd_m)
    except GeoError as error:
        raise ConfigError(f"{name}: area: {error}") from error
    tracking = file.tracking.model_dump()
    tracking["tolerance_m"] = tracking["tolerance_m"] or profile.gsd_m
    return Watch(
        name=file.name,
        instruction=Instruction(file.instruction, file.targets),
        area=area,
        profile=profile,
        catalog=catalog,
        start=file.start,
        end=file.end,
        schedule=file.schedule,
        priority=file.priority,
        min_polygon_m2=file.min_polygon_m2,
        connectivity=file.connectivity,
        outlines=file.outlines,
        max_cloud_cover=file.max_cloud_cover,
        max_failed_tiles=file.max_failed_tiles,
        tracking=TrackingSettings(**tracking),
        rules=tuple(_rule(rule, base, name) for rule in file.rules),
        catalog_name=file.source.catalog_name,
    )


def _check_comes_in_time(file: _WatchFile, name: str) -> None:
    """A schedule that first comes when the watch is over never comes."""
    if file.schedule is None or file.end is None:
        return
    first = next_after(file.schedule, file.start)
    if first is None or over(file.end, first):
        when = "never comes" if first is None else f"first comes at {first:%Y-%m-%d %H:%M} UTC"
        raise ConfigError(
            f"{name}: schedule: {when}, and the watch is over {GRACE.days} days after its end "
            f"{file.end:%Y-%m-%d %H:%M}; let it come more often (got {file.schedule!r})"
        )


def _area(area: _Area, base: Path, name: str) -> BaseGeometry:
    given = [key for key in ("bbox", "geojson", "file") if getattr(area, key) is not None]
    if len(given) != 1:
        raise ConfigError(f"{name}: area: give exactly one of bbox, geojson, file; got {given or 'none'}")
    if area.bbox is not None:
        return _from_bbox(area.bbox, name)
    try:
        if area.file is not None:
            return _in_degrees(from_file(base / area.file))
        return _in_degrees(from_geojson(area.geojson, "GeoJSON"))
    except ConfigError as error:
        raise ConfigError(f"{name}: area.{given[0]}: {error}") from error


def _from_bbox(bbox: tuple[float, float, float, float], name: str) -> BaseGeometry:
    if not is_box(bbox):
        raise ConfigError(f"{name}: area.bbox: {list(bbox)} is not west, south, east, north in degrees")
    return box_of(bbox)


def _in_degrees(area: BaseGeometry) -> BaseGeometry:
    if area.geom_type not in {"Polygon", "MultiPolygon"} or area.is_empty or not area.is_valid:
        raise ConfigError(f"a valid, non-empty Polygon or MultiPolygon is needed, got {area.geom_type}")
    if not in_degrees(area):
        furthest = np.abs(shapely.get_coordinates(area)).max(axis=0).tolist()
        raise ConfigError(f"coordinates must be longitude, latitude in degrees, got up to {furthest}")
    return area
