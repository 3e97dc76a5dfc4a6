"""Sums over the tracks by target, week and administrative area; :mod:`segwatch.db.summaries` keeps them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Date, Double, Index, Integer, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import UUID

from segwatch.db.tables.columns import geometry, identity, metadata, reference, string, time

#: Statuses of objects as parts of names of columns.
STATUSES = ("confirmed", "provisional", "refuted", "not_judged")


def _counts() -> tuple[Column[Any], ...]:
    """Make columns for each status: objects, and square centimetres, whose sums do not depend on their order."""
    names = (f"{status}_{what}" for status in STATUSES for what in ("objects", "cm2"))
    return tuple(Column(name, BigInteger, nullable=False) for name in names)


#: Polygons with names that a user loads, such as districts; areas are summed by them.
admin_area = Table(
    "admin_area",
    metadata,
    identity(),
    string("layer"),
    string("name"),
    Column("area_m2", Double, nullable=False),
    geometry(),
    time("loaded_at", now=True),
    UniqueConstraint("layer", "name", name="admin_area_identity"),
)

#: The same polygons in pieces of few vertices, so that an object is compared with little ground.
admin_area_part = Table(
    "admin_area_part",
    metadata,
    reference("admin_area_id", "admin_area", primary_key=True),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    geometry(),
    Index("admin_area_part_geom_ix", "geom", postgresql_using="gist"),
)

#: Differences from week to week: the sum up to a week is what is shown at its end. ``admin_area_id`` is nil for all of
#: the ground of a watch.
area_by_week = Table(
    "area_by_week",
    metadata,
    reference("series_id", "series", primary_key=True),
    Column("admin_area_id", UUID(as_uuid=True), primary_key=True),
    Column("target", Text, primary_key=True),
    #: Monday, UTC
    Column("week", Date, primary_key=True),
    *_counts(),
)

#: What each reviewed object adds to ``area_by_week``: a further verdict replaces it.
reviewed_area = Table(
    "reviewed_area",
    metadata,
    reference("track_id", "track", primary_key=True),
    Column("admin_area_id", UUID(as_uuid=True), primary_key=True),
    Column("week", Date, primary_key=True),
    *_counts(),
)

#: Ground that was observed in a week, by administrative area that meets the AOI; 0 where none was.
observed_by_week = Table(
    "observed_by_week",
    metadata,
    reference("series_id", "series", primary_key=True),
    Column("admin_area_id", UUID(as_uuid=True), primary_key=True),
    Column("week", Date, primary_key=True),
    #: scenes of the week that show a part of it
    Column("scenes", Integer, nullable=False),
    Column("observed_m2", Double, nullable=False),
)
