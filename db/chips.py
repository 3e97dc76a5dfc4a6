"""Chips of observations, and the references that later observations of their series are compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, text

from segwatch.db import tables
from segwatch.geo.types.belief import Shift
from segwatch.geo.types.chips import Cell, Chip, ReferenceChip

_LOAD = text(
    """
    SELECT observation_id, crs, pixel_m, grid_row, grid_col, content
    FROM segwatch.observation_chip WHERE observation_id = ANY(CAST(:ids AS uuid[]))
    ORDER BY observation_id, crs, pixel_m, grid_row, grid_col
    """
)
#: For each cell the chip that the series took over from the one before, else that of the first published observation
#: before the fold. The scan along the series ends at it, and a series is scanned to its end only for cells that it
#: shows for the first time.
_REFERENCES = text(
    """
    SELECT c.*
    FROM unnest(CAST(:crs AS text[]), CAST(:pixel_m AS float8[]), CAST(:grid_row AS int[]), CAST(:grid_col AS int[]))
        AS n(crs, pixel_m, grid_row, grid_col)
    CROSS JOIN LATERAL (
        SELECT h.crs, h.pixel_m, h.grid_row, h.grid_col, h.content,
               r.shift_east_m, r.shift_north_m, r.shift_quality, r.shift_source
        FROM segwatch.series_reference r
        JOIN segwatch.observation_chip h USING (observation_id, crs, pixel_m, grid_row, grid_col)
        WHERE r.series_id = :series_id
          AND (r.crs, r.pixel_m, r.grid_row, r.grid_col) = (n.crs, n.pixel_m, n.grid_row, n.grid_col)
        UNION ALL
        (SELECT h.crs, h.pixel_m, h.grid_row, h.grid_col, h.content,
               o.shift_east_m, o.shift_north_m, o.shift_quality, o.shift_source
        FROM segwatch.observation o
        JOIN segwatch.observation_chip h ON h.observation_id = o.id
        WHERE NOT EXISTS (
            SELECT 1 FROM segwatch.series_reference r WHERE r.series_id = :series_id
              AND (r.crs, r.pixel_m, r.grid_row, r.grid_col) = (n.crs, n.pixel_m, n.grid_row, n.grid_col))
          AND o.series_id = :series_id AND o.state = 'observed' AND o.superseded_at IS NULL
          AND (o.acquired_at, o.scene_id) < (:acquired_at, :scene_id)
          AND NOT (o.id = ANY(CAST(:folded AS uuid[])))
          AND (h.crs, h.pixel_m, h.grid_row, h.grid_col) = (n.crs, n.pixel_m, n.grid_row, n.grid_col)
        ORDER BY o.acquired_at, o.scene_id LIMIT 1)) c
    """
)
#: The references of the series before, as they were at the scene at which this one took over its objects: its own first
#: chips, unless it took over one of the cell itself.
_INHERIT = text(
    """
    INSERT INTO segwatch.series_reference (series_id, crs, pixel_m, grid_row, grid_col, observation_id, shift_east_m,
                                           shift_north_m, shift_quality, shift_source)
    SELECT DISTINCT ON (c.crs, c.pixel_m, c.grid_row, c.grid_col)
           c.id, c.crs, c.pixel_m, c.grid_row, c.grid_col, c.observation_id, coalesce(c.shift_east_m, 0),
           coalesce(c.shift_north_m, 0), coalesce(c.shift_quality, 0), coalesce(c.shift_source, 'none')
    FROM (
        SELECT s.id, r.crs, r.pixel_m, r.grid_row, r.grid_col, r.observation_id, r.shift_east_m, r.shift_north_m,
               r.shift_quality, r.shift_source, true AS inherited, CAST(NULL AS timestamptz) AS acquired_at,
               CAST(NULL AS uuid) AS scene_id
        FROM segwatch.series s JOIN segwatch.series_reference r ON r.series_id = s.seeded_from
        WHERE s.id = :series_id
        UNION ALL
        SELECT s.id, h.crs, h.pixel_m, h.grid_row, h.grid_col, h.observation_id, o.shift_east_m, o.shift_north_m,
               o.shift_quality, o.shift_source, false, o.acquired_at, o.scene_id
        FROM segwatch.series s
        JOIN segwatch.observation o ON o.series_id = s.seeded_from AND o.acquired_at <= s.seed_valid_at
             AND o.state = 'observed' AND o.superseded_at IS NULL
        JOIN segwatch.observation_chip h ON h.observation_id = o.id
        WHERE s.id = :series_id) c
    ORDER BY c.crs, c.pixel_m, c.grid_row, c.grid_col, c.inherited DESC, c.acquired_at, c.scene_id
    ON CONFLICT DO NOTHING
    """
)


def save_chips(conn: Connection, observation_id: UUID, chips: Sequence[Chip]) -> None:
    """Store the chips of an observation that has none."""
    if chips:
        rows = [
            {
                "observation_id": observation_id,
                "crs": chip.cell.crs,
                "pixel_m": chip.cell.pixel_m,
                "grid_row": chip.cell.row,
                "grid_col": chip.cell.col,
                "content": chip.content,
            }
            for chip in chips
        ]
        conn.execute(insert(tables.observation_chip), rows)


def load_chips(conn: Connection, observation_ids: Collection[UUID]) -> dict[UUID, tuple[Chip, ...]]:
    """Load the chips of observations; those without any are missing in the result."""
    found: dict[UUID, list[Chip]] = defaultdict(list)
    for row in conn.execute(_LOAD, {"ids": sorted(observation_ids)}):
        found[row.observation_id].append(_load_chip(row))
    return {observation_id: tuple(some) for observation_id, some in found.items()}


def load_references(
    conn: Connection,
    series_id: UUID,
    cells: Collection[Cell],
    *,
    acquired_at: datetime,
    scene_id: UUID,
    folded: Collection[UUID] = (),
) -> dict[Cell, ReferenceChip]:
    """Load the reference chips of some cells, as they are for an observation of that time and scene.

    The reference of a cell is the one that the series took over from the series before, else the chip of its own first
    published observation of it, by acquisition time and scene id. Observations in ``folded`` count as not recorded.
    """
    wanted = sorted(cells)
    if not wanted:
        return {}
    values = {
        "crs": [cell.crs for cell in wanted],
        "pixel_m": [cell.pixel_m for cell in wanted],
        "grid_row": [cell.row for cell in wanted],
        "grid_col": [cell.col for cell in wanted],
        "series_id": series_id,
        "acquired_at": acquired_at,
        "scene_id": scene_id,
        "folded": sorted(folded),
    }
    found = ((_load_chip(row), load_shift(row)) for row in conn.execute(_REFERENCES, values))
    return {chip.cell: ReferenceChip(chip, shift) for chip, shift in found}


def inherit_references(conn: Connection, series_id: UUID) -> None:
    """Take over the references of the series before, so that objects taken over and new observations lie together."""
    conn.execute(_INHERIT, {"series_id": series_id})


def load_shift(row: Row[Any]) -> Shift:
    """Read the columns ``shift_*`` of an observation."""
    if row.shift_source is None:
        return Shift()
    return Shift(row.shift_east_m, row.shift_north_m, row.shift_quality, row.shift_source)


def _load_chip(row: Row[Any]) -> Chip:
    return Chip(Cell(row.crs, row.pixel_m, row.grid_row, row.grid_col), bytes(row.content))
