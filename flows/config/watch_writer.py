"""Write watch files: :class:`segwatch.geo.types.watch.Watch` -> YAML, the way back of :mod:`watchfile`.

Fields that have their default are left out, so that a person can read the file.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import shapely
import yaml
from pydantic import ValidationError
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from segwatch.flows.config.watch_document import WatchDocument
from segwatch.flows.errors import ConfigError
from segwatch.geo.errors import GeoError
from segwatch.geo.sources import profiles
from segwatch.geo.text.spelling import describe_errors
from segwatch.geo.types.source import Profile
from segwatch.geo.types.watch import AlertRule, Watch

_NOTE = "# made by segwatch watch clone from {name}; apply it with: segwatch apply FILE\n"


def write_like(watch: Watch, *, name: str, area: BaseGeometry | None = None) -> tuple[str, list[str]]:
    """Write the text of a watch file like a stored watch, and what a person has to look at before applying it.

    Parameters
    ----------
    name
        Name of the new watch.
    area
        Its area, EPSG:4326; None = the same.

    Raises
    ------
    ConfigError
        The name or area cannot be those of a watch.
    """
    made = replace(watch, name=name, area=watch.area if area is None else area)
    notes = []
    source, note = _write_source(made)
    if note:
        notes.append(note)
    document = _write(made, source)
    try:
        checked = WatchDocument.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"the new watch:\n{describe_errors(error, model=WatchDocument)}") from error
    kept = checked.model_dump(mode="json", exclude_defaults=True)
    for rule in kept.get("rules", ()):
        if rule.get("digest") == {}:  # its defaults are those of every full hour
            rule["digest"] = "hourly"
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
    if any(rule.channels for rule in made.rules):
        notes.append(
            "its alerts go to the same channels as those of the original; change them in the file if they should not"
        )
    if area is not None and any(rule.region is not None for rule in made.rules):
        notes.append("rules with near still name places of the original area; change them in the file")
    return _NOTE.format(name=watch.name) + text, notes


def write_file(file: Path, text: str) -> bool:
    """Write a file that only this user can read; True if it is new, False if it holds the text already.

    Raises
    ------
    ConfigError
        The file exists with another content.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        # written aside first: a killed command leaves no half of a file under this name
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
        os.link(part, file)
    except FileExistsError as error:
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            return False
        raise ConfigError(f"{file} exists with another content; give another file: --out FILE") from error
    finally:
        part.unlink(missing_ok=True)
    return True


def _write(watch: Watch, source: dict[str, Any]) -> dict[str, Any]:
    tracking = asdict(watch.tracking)
    if tracking["tolerance_m"] == watch.profile.gsd_m:  # the default: one pixel
        tracking["tolerance_m"] = None
    return {
        "version": 1,
        "name": watch.name,
        "instruction": watch.instruction.text,
        "targets": watch.instruction.targets,
        "area": _write_area(watch.area),
        "source": source,
        "start": watch.start.isoformat(),
        "end": None if watch.end is None else watch.end.isoformat(),
        "schedule": watch.schedule,
        "priority": watch.priority,
        "min_polygon_m2": watch.min_polygon_m2,
        "connectivity": watch.connectivity,
        "outlines": watch.outlines,
        "max_cloud_cover": watch.max_cloud_cover,
        "max_failed_tiles": watch.max_failed_tiles,
        "tracking": tracking,
        "rules": [write_rule(rule) for rule in watch.rules],
        "evidence": watch.evidence,
        "shadow": watch.shadow,
    }


def _write_area(area: BaseGeometry) -> dict[str, Any]:
    if shapely.equals(area, box(*area.bounds)):
        return {"bbox": area.bounds}
    return {"geojson": mapping(area)}


def _write_source(watch: Watch) -> tuple[dict[str, Any], str]:
    """Write the section of the source, and a note if its profile is not one that ships."""
    profile = watch.profile
    shipped, note = _load_shipped(profile.name), ""
    if shipped is None or replace(shipped, collection=profile.collection) != profile:
        note = (
            f"source.profile: its profile {profile.name} is none that ships, or has changed since; write the path of "
            "its .toml file"
        )
    found: dict[str, Any] = {"profile": profile.name, "catalog_name": watch.catalog_name}
    if watch.fallback:
        found["fallback"] = watch.fallback
    if shipped is None or shipped.catalog != watch.catalog:
        found["catalog"] = watch.catalog
    if shipped is None or shipped.collection != profile.collection:
        found["collection"] = profile.collection
    return found, note


def _load_shipped(name: str) -> Profile | None:
    try:
        return profiles.load(name) if name in profiles.list_names() else None
    except GeoError:
        return None


def write_rule(rule: AlertRule) -> dict[str, Any]:
    """Write a rule as a watch file has it, with every field."""
    near = None if rule.region is None else _write_area(rule.region) | {"distance_m": rule.region_distance_m}
    digest = None
    if rule.digest is not None:
        digest = "hourly" if rule.digest.at is None else asdict(rule.digest)
    return {
        "name": rule.name,
        "kinds": [kind.value for kind in rule.kinds],
        "min_area_m2": rule.min_area_m2,
        "min_score": rule.min_score,
        "min_growth": rule.min_growth,
        "status": rule.status,
        "confidence": rule.confidence,
        "near": near,
        "once": rule.once,
        "include_baseline": rule.include_baseline,
        "channels": rule.channels,
        "quiet": None if rule.quiet is None else asdict(rule.quiet),
        "most_per_hour": rule.most_per_hour,
        "escalate": None if rule.escalation is None else asdict(rule.escalation),
        "digest": digest,
        "evidence": {
            one.index
            if one.measure == "inside"
            else f"{one.index}_{one.measure}": f"{one.operator}{one.limit:g}"
            for one in rule.evidence
        },
    }
