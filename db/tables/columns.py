"""Metadata of schema ``segwatch`` and helpers for columns."""

from __future__ import annotations

from typing import Any

from geoalchemy2 import Geometry
from sqlalchemy import Column, DateTime, ForeignKey, MetaData, Text, func
from sqlalchemy.dialects.postgresql import UUID

SCHEMA = "segwatch"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "uq": "%(table_name)s_%(column_0_name)s_key",
    },
)


def identity() -> Column[Any]:
    """Make the primary key ``id``."""
    return Column("id", UUID(as_uuid=True), primary_key=True)


def reference(name: str, table: str, *, nullable: bool = False, primary_key: bool = False) -> Column[Any]:
    """Make a foreign key to the ``id`` of a table."""
    key = ForeignKey(f"{SCHEMA}.{table}.id")
    return Column(name, UUID(as_uuid=True), key, nullable=nullable, primary_key=primary_key)


def geometry(name: str = "geom", *, nullable: bool = False) -> Column[Any]:
    """Make a geometry of any type in EPSG:4326; its index, if any, is named by the table."""
    return Column(name, Geometry("GEOMETRY", 4326, spatial_index=False), nullable=nullable)


def time(name: str, *, nullable: bool = False, now: bool = False) -> Column[Any]:
    """Make a ``timestamptz``; ``now`` fills it with the time of the statement."""
    default = func.clock_timestamp() if now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def string(name: str, *, nullable: bool = False) -> Column[Any]:
    """Make a column of text."""
    return Column(name, Text, nullable=nullable)
