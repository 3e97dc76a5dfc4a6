"""Read watch files: YAML -> :class:`segwatch.geo.types.watch.Watch`.

The format is in :mod:`segwatch.flows.config.watch_document`. Every message names the file, the field, the value and the
fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pydantic import ValidationError
from shapely.geometry.base import BaseGeometry

from segwatch.flows.config.cadence import GRACE, find_next, is_over
from segwatch.flows.config.geojson import parse_geometry, read_geometry_file
from segwatch.flows.config.settings import load_settings
from segwatch.flows.config.watch_document import AreaSection, RuleSection, SourceSection, WatchDocument
from segwatch.flows.config.yaml_document import MAX_BYTES, index_lines, parse_yaml
from segwatch.flows.errors import ConfigError
from segwatch.geo import grid as grids
from segwatch.geo.antimeridian import is_bounding_box, is_in_degrees, to_box
from segwatch.geo.errors import GeoError
from segwatch.geo.sources import profiles
from segwatch.geo.sources.local import registry
from segwatch.geo.spectral.indices import list_computable
from segwatch.geo.text.printable import find_acting
from segwatch.geo.text.spelling import describe_errors
from segwatch.geo.text.storable import to_storable
from segwatch.geo.tracking.evidence_conditions import parse_condition
from segwatch.geo.types.source import Profile
from segwatch.geo.types.watch import (
    AlertRule,
    AlertStatus,
    Digest,
    Escalation,
    Instruction,
    QuietHours,
    TrackingSettings,
    Watch,
)

#: Default of ``confidence``, by the status of the rule.
_CONFIDENCE = {AlertStatus.CONFIRMED: 0.8, AlertStatus.PROVISIONAL: 0.0}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of watch files, with a description of every field."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **WatchDocument.model_json_schema(),
        "title": "segwatch watch file",
    }


def load(path: Path) -> Watch:
    """Read one watch file.

    Raises
    ------
    ConfigError
        Names the file, the field, the value and the fix.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return parse(parse_yaml(content, str(path)), base=path.parent, name=str(path))
    except ConfigError as error:
        raise ConfigError(_add_lines(str(error), str(path), index_lines(content))) from error


_FIELD = re.compile(r"([a-z_]\w*(?:\.[^:\s]+)*): ")


def _add_lines(message: str, name: str, lines: Mapping[str, int]) -> str:
    """Add to each line of a message about a field the number of the line on which the file has that field."""
    return "\n".join(_add_line(one, f"{name}: ", lines) for one in message.splitlines())


def _add_line(said: str, file: str, lines: Mapping[str, int]) -> str:
    before, rest = (file, said.removeprefix(file)) if said.startswith(file) else ("", said)
    found = _FIELD.match(rest)
    where = "" if found is None else found[1]
    while where and where not in lines:
        where = where.rpartition(".")[0]
    return f"{before}line {lines[where]}: {rest}" if where else said


def load_all(path: Path) -> Iterator[Watch]:
    """Yield the watches of a folder's ``*.yaml`` and ``*.yml`` files in name order, or of one file.

    Raises
    ------
    ConfigError
        At the first invalid file.
    """
    return (load(file) for file in _files(path))


def load_each(path: Path) -> tuple[list[Watch], list[str]]:
    """Load the valid watches of a folder or file, and say why each other file is invalid."""
    loaded: dict[str, tuple[Path, Watch]] = {}
    failed: list[str] = []
    for file in _files(path):
        try:
            watch = load(file)
        except ConfigError as error:
            failed.append(str(error))
            continue
        if watch.name in loaded:
            failed.append(f"{file}: name: {loaded[watch.name][0]} has the same name; names must differ")
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


def parse(document: object, *, base: Path, name: str, source: tuple[Profile, str] | None = None) -> Watch:
    """Validate a parsed document; paths in it are relative to ``base``.

    Parameters
    ----------
    source
        Profile and URL of the catalog, in place of those that the document names; None = these.

    Raises
    ------
    ConfigError
        Names the file, the field, the value and the fix.
    """
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: expected a mapping at the top level, got {type(document).__name__}")
    try:
        file = WatchDocument.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{name}:\n{describe_errors(error, model=WatchDocument)}") from error
    for where, text in _texts(file.model_dump()):
        if to_storable(text) != text:
            raise ConfigError(
                f"{name}: {where}: a character that cannot be stored (got {text!r}); take it out"
            )
        if (acting := find_acting(text)) is not None:
            raise ConfigError(f"{name}: {where}: the character {acting} acts on what follows it; take it out")
    return _build(file, *(source or _load_source(file.source, name)), base, name)


def _load_source(source: SourceSection, name: str) -> tuple[Profile, str]:
    """The profile of a source, and the URL of its catalog."""
    if source.local is not None:
        try:
            # where sources are registered is known once the settings are read
            load_settings()
            found = registry.find(source.local)
            return profiles.load(str(found.profile_path)), found.url
        except GeoError as error:
            raise ConfigError(f"{name}: source.local: {error}") from error
    try:
        profile = profiles.load(source.profile or "")
    except GeoError as error:
        raise ConfigError(f"{name}: source.profile: {error}") from error
    if source.collection is not None:
        profile = replace(profile, collection=source.collection)
    catalog = source.catalog or profile.catalog
    if catalog is None:
        raise ConfigError(
            f"{name}: source.catalog: profile {profile.name} names no catalog; write its URL here"
        )
    return profile, catalog


def _texts(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string of a document with its path."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for position, one in enumerate(value):
            yield from _texts(one, f"{where}.{position}")


def _build_rule(rule: RuleSection, base: Path, name: str) -> AlertRule:
    plain = rule.model_dump(exclude={"near", "quiet", "escalate", "digest", "confidence", "evidence"})
    return AlertRule(
        **plain,
        confidence=_CONFIDENCE[rule.status] if rule.confidence is None else rule.confidence,
        region=_build_area(rule.near, base, f"{name}: rules.{rule.name}.near") if rule.near else None,
        region_distance_m=rule.near.distance_m if rule.near else 0.0,
        quiet=QuietHours(**rule.quiet.model_dump()) if rule.quiet else None,
        escalation=Escalation(**rule.escalate.model_dump()) if rule.escalate else None,
        digest=Digest(**rule.digest.model_dump()) if rule.digest else None,
        evidence=tuple(parse_condition(*one) for one in sorted(rule.evidence.items())),
    )


def _build(file: WatchDocument, profile: Profile, catalog: str, base: Path, name: str) -> Watch:
    if file.end is not None and file.end <= file.start:
        raise ConfigError(f"{name}: end {file.end.isoformat()} is not after start {file.start.isoformat()}")
    _check_schedule(file, name)
    _check_evidence(file, profile, name)
    _check_shadow(file, name)
    area = _build_area(file.area, base, name)
    try:
        grids.make_grid(area, profile.gsd_m)
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
        rules=tuple(_build_rule(rule, base, name) for rule in file.rules),
        catalog_name=file.source.catalog_name,
        fallback=file.source.fallback or "",
        evidence=file.evidence,
        shadow=file.shadow,
    )


def _check_evidence(file: WatchDocument, profile: Profile, name: str) -> None:
    """Reject rules that could never match, because the watch has no evidence for them."""
    available = [one.name for one in list_computable(one.name for one in profile.spectral)]
    for rule in file.rules:
        for condition in rule.evidence:
            if not file.evidence:
                raise ConfigError(
                    f"{name}: rules.{rule.name}.evidence: the watch has evidence: false; take one out"
                )
            if condition.partition("_")[0] not in available:
                known = ", ".join(available) or "no index"
                raise ConfigError(
                    f"{name}: rules.{rule.name}.evidence: {condition}: profile {profile.name} has bands for "
                    f"{known}; name one of these, or add the bands to the profile's spectral"
                )


def _check_shadow(file: WatchDocument, name: str) -> None:
    """Reject a shadow that is the main segmenter of these settings: it would compare nothing."""
    if file.shadow is None:
        return
    settings = load_settings()
    shadow = settings.choose_shadow(file.shadow)
    if shadow is not None and settings.is_main(shadow):
        raise ConfigError(f"{name}: shadow: {shadow} {settings.how_to_differ}")


def _check_schedule(file: WatchDocument, name: str) -> None:
    """Reject a schedule that does not fire before the watch is over."""
    if file.schedule is None or file.end is None:
        return
    first = find_next(file.schedule, file.start)
    if first is None or is_over(file.end, first):
        when = "never fires" if first is None else f"first fires at {first:%Y-%m-%d %H:%M} UTC"
        raise ConfigError(
            f"{name}: schedule: {when}, and the watch is over {GRACE.days} days after its end "
            f"{file.end:%Y-%m-%d %H:%M}; write one that fires more often (got {file.schedule!r})"
        )


def _build_area(area: AreaSection, base: Path, name: str) -> BaseGeometry:
    given = [key for key in ("bbox", "geojson", "file") if getattr(area, key) is not None]
    if len(given) != 1:
        raise ConfigError(f"{name}: area: give exactly one of bbox, geojson, file; got {given or 'none'}")
    if area.bbox is not None:
        return _build_box(area.bbox, name)
    try:
        if area.file is not None:
            return _check_polygon(read_geometry_file(base / area.file))
        return _check_polygon(parse_geometry(area.geojson, "GeoJSON"))
    except ConfigError as error:
        raise ConfigError(f"{name}: area.{given[0]}: {error}") from error


def _build_box(bbox: tuple[float, float, float, float], name: str) -> BaseGeometry:
    if not is_bounding_box(bbox):
        raise ConfigError(f"{name}: area.bbox: {list(bbox)} is not west, south, east, north in degrees")
    return to_box(bbox)


def _check_polygon(area: BaseGeometry) -> BaseGeometry:
    if area.geom_type not in {"Polygon", "MultiPolygon"} or area.is_empty or not area.is_valid:
        raise ConfigError(f"a valid, non-empty Polygon or MultiPolygon is needed, got {area.geom_type}")
    if not is_in_degrees(area):
        furthest = np.abs(shapely.get_coordinates(area)).max(axis=0).tolist()
        raise ConfigError(f"coordinates must be longitude, latitude in degrees, got up to {furthest}")
    return area
