"""Store and load second opinions: spectral evidence, and comparisons with shadow segmenters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from shapely import from_wkb
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, TextClause, insert, text
from sqlalchemy.dialects import postgresql

from segwatch.db import tables
from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.geo.types.evidence import ChangeEvidence, IndexCells, ShadowResult
from segwatch.geo.types.tracking import ObservationResult

_CELLS = text(
    """
    SELECT crs, cell_m, west, north, width, height, names, values FROM segwatch.index_cells WHERE observation_id = :id
    """
)
#: The last published observations of a series that meet a footprint before a place in its order, newest first; the
#: fold is given the same ones (:mod:`segwatch.db.fold_memory`).
_EARLIER = text(
    """
    SELECT o.id, o.acquired_at, o.footprint FROM segwatch.observation o
    WHERE o.series_id = :series_id AND o.state = 'observed' AND o.superseded_at IS NULL
      AND (o.acquired_at, o.scene_id) < (:acquired_at, :scene_id) AND o.id <> ALL(CAST(:without AS uuid[]))
      AND ST_Intersects(o.footprint, CAST(:footprint AS geometry))
    ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT :limit
    """
)
#: The first published observations of a series that meet a footprint, from a time on and before a place in its order,
#: oldest first.
_SINCE = text(
    """
    SELECT o.id, o.acquired_at, o.footprint FROM segwatch.observation o
    WHERE o.series_id = :series_id AND o.state = 'observed' AND o.superseded_at IS NULL
      AND o.acquired_at >= :since AND (o.acquired_at, o.scene_id) < (:acquired_at, :scene_id)
      AND o.id <> ALL(CAST(:without AS uuid[])) AND ST_Intersects(o.footprint, CAST(:footprint AS geometry))
    ORDER BY o.acquired_at, o.scene_id LIMIT :limit
    """
)
_OF_CHANGES = text(
    "SELECT e.change_id, e.evidence FROM segwatch.change_evidence e WHERE e.change_id = ANY(CAST(:ids AS uuid[]))"
)


def save(conn: Connection, observation_id: UUID, result: ObservationResult) -> None:
    """Store the presence of targets, the index cells and the shadow's comparison of an observation."""
    cells, shadow = result.cells, result.shadow
    if result.presence:
        rows = [{"observation_id": observation_id, **asdict(one)} for one in result.presence]
        conn.execute(insert(tables.target_presence), rows)
    if cells is not None:
        values = {one.name: getattr(cells, one.name) for one in fields(cells)} | {"names": list(cells.names)}
        conn.execute(insert(tables.index_cells), {"observation_id": observation_id, **values})
    if shadow is not None:
        _save_shadow(conn, observation_id, shadow)


def _save_shadow(conn: Connection, observation_id: UUID, shadow: ShadowResult) -> None:
    key = {"observation_id": observation_id}
    values = {name: getattr(shadow, name) for name in ("version", "reason", "share")}
    conn.execute(insert(tables.shadow_result), {**key, **values})
    agreements = [
        {
            **key,
            "target": one.target,
            "both_m2": one.both_m2,
            "only_primary_m2": one.only_primary_m2,
            "only_shadow_m2": one.only_shadow_m2,
            "primary_count": one.primary_count,
            "shadow_count": one.shadow_count,
            "lost_count": one.lost,
            "gained_count": one.gained,
            "changed_count": one.changed,
        }
        for one in shadow.targets
    ]
    differences = [
        {
            **key,
            "ordinal": ordinal,
            "target": one.target,
            "found_by": one.found_by,
            "geom": to_ewkb(from_wkb(one.wkb)),
            "area_m2": one.area_m2,
        }
        for ordinal, one in enumerate(shadow.differences)
    ]
    for table, rows in ((tables.shadow_agreement, agreements), (tables.shadow_difference, differences)):
        if rows:
            conn.execute(insert(table), rows)


def load_cells(conn: Connection, observation_id: UUID) -> IndexCells | None:
    """Load the index cells of an observation; None if it has none."""
    row = conn.execute(_CELLS, {"id": observation_id}).mappings().first()
    return (
        None
        if row is None
        else IndexCells(**{**row, "names": tuple(row["names"]), "values": bytes(row["values"])})
    )


@dataclass(frozen=True, slots=True)
class ObservedPlace:
    """What an observation of a series observed, and when."""

    id: UUID
    acquired_at: datetime
    footprint: BaseGeometry
    """EPSG:4326."""


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Which observations of a series are asked for."""

    series_id: UUID
    footprint: BaseGeometry
    """They meet it, EPSG:4326."""
    without: Collection[UUID] = ()
    """Observations that are left out."""


def list_earlier(
    conn: Connection, near: Neighbourhood, before: tuple[datetime, UUID], limit: int
) -> list[ObservedPlace]:
    """List the last published observations before an acquisition time and scene id, newest first."""
    return _list_observed(conn, _EARLIER, near, before, limit)


def list_since(
    conn: Connection, near: Neighbourhood, since: datetime, before: tuple[datetime, UUID], limit: int
) -> list[ObservedPlace]:
    """List the first published observations from a time on, before an acquisition time and scene id, oldest first."""
    return _list_observed(conn, _SINCE, near, before, limit, since=since)


def _list_observed(
    conn: Connection,
    query: TextClause,
    near: Neighbourhood,
    before: tuple[datetime, UUID],
    limit: int,
    **more: datetime,
) -> list[ObservedPlace]:
    acquired_at, scene_id = before
    values: dict[str, Any] = {
        "series_id": near.series_id,
        "footprint": to_ewkb(near.footprint),
        "acquired_at": acquired_at,
        "scene_id": scene_id,
        "limit": limit,
        "without": list(near.without),
        **more,
    }
    return [
        ObservedPlace(row.id, row.acquired_at, from_ewkb(row.footprint))
        for row in conn.execute(query, values)
    ]


def save_changes(conn: Connection, found: Iterable[tuple[UUID, UUID | None, ChangeEvidence]]) -> None:
    """Store the evidence of changes, given with change id and observation before; a known change gets the newest."""
    rows: Sequence[Mapping[str, Any]] = [
        {"change_id": identity, "before_id": before, "evidence": evidence.to_json()}
        for identity, before, evidence in found
    ]
    if rows:
        added = postgresql.insert(tables.change_evidence)
        anew = {name: added.excluded[name] for name in ("before_id", "evidence")}
        conn.execute(added.on_conflict_do_update(index_elements=["change_id"], set_=anew), rows)


def load_evidence(conn: Connection, change_ids: Iterable[UUID]) -> dict[UUID, ChangeEvidence]:
    """Load the evidence of changes by their ids; changes without evidence are missing."""
    rows = conn.execute(_OF_CHANGES, {"ids": sorted(change_ids)})
    return {row.change_id: ChangeEvidence.from_json(row.evidence) for row in rows}
