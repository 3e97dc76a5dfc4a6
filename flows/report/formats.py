"""Dates, areas and links as reports write them."""

from __future__ import annotations

from datetime import UTC, datetime


def format_day(at: datetime) -> str:
    """Write a date as ``2024-05-01``."""
    return f"{at:%Y-%m-%d}"


def format_time(at: datetime | None) -> str:
    """Write a time in UTC to the minute."""
    return "unknown" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def format_hectares(m2: float) -> str:
    """Write an area given in m²."""
    return f"{m2 / 1e4:.2f}"


def format_difference(m2: float) -> str:
    """Write a difference of areas given in m², with its sign, in hectares."""
    return f"{m2 / 1e4:+.2f}"


def shorten_href(href: str) -> str:
    """Return the last part of a link."""
    return href.rstrip("/").rpartition("/")[2]
