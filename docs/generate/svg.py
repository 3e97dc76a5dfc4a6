"""Scalable drawings: text, boxes, arrows and polygons, without any library."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

INK, MUTED, PAPER = "#1f2933", "#5b6770", "#ffffff"
_FONT = 'font-family="system-ui, sans-serif"'


def document(width: float, height: float, parts: Iterable[str], title: str) -> str:
    """Return a whole drawing with a title for screen readers, on white, so that dark pages show it too."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" {_FONT}>'
    )
    background = f'<rect width="{width:g}" height="{height:g}" fill="{PAPER}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", background, *parts, "</svg>"]) + "\n"


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: float = 13,
    fill: str = INK,
    anchor: str = "start",
    weight: str = "",
) -> str:
    """Return one line of text; ``y`` is its baseline."""
    bold = f' font-weight="{weight}"' if weight else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}" text-anchor="{anchor}"{bold}>'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, *, fill: str, stroke: str, radius: float = 6) -> str:
    """Return a rectangle with rounded corners."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" fill="{fill}" '
        f'stroke="{stroke}"/>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return an arrow; the drawing must contain :data:`MARKER`."""
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{MUTED}" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return the part of a bent arrow that has no head."""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{MUTED}" stroke-width="1.5"/>'


MARKER = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0 8 4 0 8z" fill="{MUTED}"/></marker></defs>'
)


def polygon(geometry: BaseGeometry, style: str) -> str:
    """Return a polygon or multipolygon whose coordinates are those of the drawing; nothing where it is empty."""
    parts = geometry.geoms if isinstance(geometry, MultiPolygon) else [geometry]
    rings = [
        ring for part in parts if isinstance(part, Polygon) and not part.is_empty
        for ring in (part.exterior, *part.interiors)
    ]  # fmt: skip
    if not rings:
        return ""
    path = " ".join(
        "M" + " ".join(f"{round(x, 1):g} {round(y, 1):g}" for x, y in ring.coords[:-1]) + "z"
        for ring in rings
    )
    return f'<path d="{path}" fill-rule="evenodd" {style}/>'
