"""Conversion between Python values and what PostgreSQL stores: watches as JSON, geometries as hex EWKB.

The field types of the dataclasses decide how a watch is written and read, so a new field needs no change here, and 500
and 500.0 make the same definition.
"""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.db.errors import CodecError
from segwatch.geo.types.belief import Belief, BeliefStatus
from segwatch.geo.types.source import Profile
from segwatch.geo.types.tracking import TrackState
from segwatch.geo.types.watch import Watch


def dump_watch(watch: Watch) -> dict[str, Any]:
    """Convert a watch to a mapping for JSON; geometries as hex WKB, which keeps every digit.

    Every field is written but ``fallback`` where there is none: without it the document is that of earlier releases, so
    that their workers read it, and applying a file again makes no other revision.
    """
    document: dict[str, Any] = _dump(watch, Watch)
    if not watch.fallback:
        del document["fallback"]
    return document


def load_watch(document: Mapping[str, Any]) -> Watch:
    """Convert back what :func:`dump_watch` returned; a missing field takes its default.

    Raises
    ------
    CodecError
        Another version of segwatch wrote the document, or somebody edited it.
    """
    try:
        watch: Watch = _load(document, Watch)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
        shapely.errors.GEOSException,
    ) as error:
        name = document.get("name", "?")
        raise CodecError(
            f"the stored definition of watch {name} cannot be read: {error}; apply its file again"
        ) from error
    return watch


def load_profile(document: Mapping[str, Any]) -> Profile:
    """Convert back the ``profile`` of a watch's document."""
    profile: Profile = _load(document, Profile)
    return profile


def dump_profile(profile: Profile) -> dict[str, Any]:
    """Convert a profile to a mapping for JSON."""
    document: dict[str, Any] = _dump(profile, Profile)
    return document


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _dump(value: Any, kind: Any) -> Any:  # noqa: PLR0911 - one line a kind
    kind = _present(kind)
    if value is None or kind is bool:
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return {one.name: _dump(getattr(value, one.name), _hints(kind)[one.name]) for one in fields(kind)}
    if get_origin(kind) is tuple:
        return [_dump(one, get_args(kind)[0]) for one in value]
    if kind is float:
        number = float(value)
        return number if math.isfinite(number) else str(number)  # JSON has no NaN
    if isinstance(value, BaseGeometry):
        return value.wkb_hex
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, enum.Enum) else value


def _load(value: Any, kind: Any) -> Any:  # noqa: PLR0911 - one line a kind
    kind = _present(kind)
    if value is None:
        return None
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        unknown = sorted(set(value) - set(hints))
        if unknown:
            raise ValueError(f"unknown field(s) {', '.join(unknown)}")
        return kind(**{name: _load(one, hints[name]) for name, one in value.items()})
    if get_origin(kind) is tuple:
        return tuple(_load(one, get_args(kind)[0]) for one in value)
    if kind is BaseGeometry:
        return shapely.from_wkb(value)
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if kind is float or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return kind(value)
    return value


def _present(kind: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(kind) in {Union, types.UnionType}:
        (kind,) = (one for one in get_args(kind) if one is not types.NoneType)
    return kind


def to_ewkb(geometry: BaseGeometry) -> str:
    """Convert a geometry in EPSG:4326 to hex EWKB, which PostGIS reads wherever a geometry is expected."""
    return shapely.to_wkb(shapely.set_srid(geometry, 4326), hex=True, include_srid=True).lower()


def from_ewkb(value: Any) -> BaseGeometry:
    """Convert a geometry column as psycopg returns it (hex EWKB, EPSG:4326) to a geometry."""
    return shapely.from_wkb(value if isinstance(value, bytes) else str(value))


def load_track_state(row: Any) -> TrackState:
    """Convert a row with the columns of ``track_state`` and the track's target."""
    return TrackState(
        track_id=row.track_id,
        target=row.target,
        geometry=from_ewkb(row.geom),
        area_m2=row.area_m2,
        score=row.score,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        last_looked=row.last_looked,
        misses=row.misses,
        missed_since=row.missed_since,
        visible_share=row.visible_share,
        alive=row.alive,
        merged_into=row.merged_into,
        # nobody judged the rows from before segwatch judged
        belief=Belief() if row.confidence is None else load_belief(row),
    )


def load_belief(row: Any) -> Belief:
    """Convert a row with the columns of a belief."""
    return Belief(row.confidence, BeliefStatus(row.status), row.observations_for, row.observations_against)
