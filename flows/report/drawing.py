"""Drawings of a page: areas, lines, texts and pictures in millimetres, y downwards, and their form as SVG.

One drawing serves HTML, PDF (both as SVG) and PNG (:mod:`segwatch.flows.report.painting`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiLineString, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import extract_polygons

Colour = tuple[int, int, int]
INK: Colour = (29, 36, 48)
FAINT: Colour = (91, 102, 117)
WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Pen:
    """How a line is drawn."""

    colour: Colour = INK
    width: float = 0.2
    """Millimetres."""
    dashes: tuple[float, ...] = ()
    """Millimetres drawn and left out in turn; empty = a whole line."""


@dataclass(frozen=True, slots=True)
class Area:
    """A polygonal geometry, filled and outlined."""

    geometry: BaseGeometry
    fill: Colour | None = None
    opacity: float = 1.0
    pen: Pen | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """Lines of a geometry."""

    geometry: BaseGeometry
    pen: Pen


@dataclass(frozen=True, slots=True)
class Label:
    """A text on one line."""

    x: float
    y: float
    """Baseline, millimetres from the top."""
    text: str
    size: float = 2.4
    """Millimetres."""
    anchor: str = "start"
    """start, middle or end."""
    colour: Colour = INK
    bold: bool = False
    turned: bool = False
    """Whether it reads upwards."""
    halo: bool = False
    """Whether it stands on a white rim."""


@dataclass(frozen=True, slots=True)
class Raster:
    """A JPEG in a rectangle."""

    x: float
    y: float
    width: float
    height: float
    jpeg: bytes


Shape = Area | Line | Label | Raster


@dataclass(frozen=True, slots=True)
class Drawing:
    """Shapes on a rectangle, the first at the bottom."""

    width: float
    height: float
    """Millimetres."""
    shapes: tuple[Shape, ...]
    words: str
    """What there is to see, for those who do not see it."""
    notes: tuple[tuple[str, dict[str, object]], ...] = field(default_factory=tuple)
    """Messages of the catalogue about what could not be drawn, with their values."""


def hatch(geometry: BaseGeometry, *, step: float = 1.3) -> BaseGeometry:
    """Cover a polygonal geometry with diagonal lines that are ``step`` millimetres apart."""
    parts = extract_polygons(geometry)
    if not parts:
        return MultiLineString()
    west, south, east, north = shapely.total_bounds(np.array(parts, dtype=object))
    height = north - south
    starts = np.arange(west - height, east + step, step * np.sqrt(2))
    lines = shapely.linestrings([[(x, south), (x + height, north)] for x in starts])
    cut = shapely.intersection(lines, shapely.union_all(parts))
    found: BaseGeometry = shapely.union_all(cut[~shapely.is_empty(cut)])
    return found


def make_box(x: float, y: float, width: float, height: float) -> BaseGeometry:
    """Make a rectangle from its upper left corner and its size."""
    return box(x, y, x + width, y + height)


def move(shapes: Sequence[Shape], x: float, y: float) -> list[Shape]:
    """Move shapes to the right and down."""
    return [_move(one, x, y) for one in shapes]


def _move(shape: Shape, x: float, y: float) -> Shape:
    if isinstance(shape, Label | Raster):
        return replace(shape, x=shape.x + x, y=shape.y + y)
    return replace(
        shape, geometry=shapely.transform(shape.geometry, lambda coords: coords + np.array([x, y]))
    )


def write_svg(drawing: Drawing) -> str:
    """Write a drawing as a self-contained SVG document; texts are escaped."""
    size = f"{drawing.width:g} {drawing.height:g}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{drawing.width:g}mm" '
        f"height=\"{drawing.height:g}mm\" font-family=\"'DejaVu Sans', 'Noto Sans', Arial, sans-serif\">",
        f"<title>{escape(drawing.words)}</title>",
        *(text for shape in drawing.shapes for text in _write_shape(shape)),
        "</svg>",
    ]
    return "\n".join(parts)


def _write_shape(shape: Shape) -> Iterator[str]:
    if isinstance(shape, Raster):
        source = base64.b64encode(shape.jpeg).decode()
        yield (
            f'<image x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" height="{shape.height:.2f}" '
            f'preserveAspectRatio="none" href="data:image/jpeg;base64,{source}"/>'
        )
    elif isinstance(shape, Label):
        yield from _write_label(shape)
    elif isinstance(shape, Line):
        path = _write_path(list_lines(shape.geometry), close=False)
        if path:
            yield f'<path d="{path}" fill="none"{_write_pen(shape.pen)}/>'
    else:
        rings = [
            ring for part in extract_polygons(shape.geometry) for ring in (part.exterior, *part.interiors)
        ]
        path = _write_path([np.asarray(ring.coords) for ring in rings], close=True)
        fill = "none" if shape.fill is None else _write_colour(shape.fill)
        if path:
            yield (
                f'<path d="{path}" fill="{fill}" fill-opacity="{shape.opacity:g}" fill-rule="evenodd"'
                f"{_write_pen(shape.pen)}/>"
            )


def _write_label(label: Label) -> Iterator[str]:
    turn = f' transform="rotate(-90 {label.x:.2f} {label.y:.2f})"' if label.turned else ""
    bold = ' font-weight="bold"' if label.bold else ""
    common = f'x="{label.x:.2f}" y="{label.y:.2f}" font-size="{label.size:g}" text-anchor="{label.anchor}"{bold}{turn}'
    text = escape(label.text)
    if label.halo:  # a text of its own: not every renderer knows paint-order
        yield (
            f'<text {common} fill="none" stroke="#ffffff" stroke-width="{label.size / 4:g}" '
            f'stroke-linejoin="round">{text}</text>'
        )
    yield f'<text {common} fill="{_write_colour(label.colour)}">{text}</text>'


def list_lines(geometry: BaseGeometry) -> list[NDArray[np.float64]]:
    """List the lines of a geometry as (N, 2) arrays; points and polygons are left out."""
    if geometry.is_empty:
        return []
    parts = getattr(geometry, "geoms", None)
    if parts is not None:
        return [line for part in parts for line in list_lines(part)]
    return [np.asarray(geometry.coords)] if geometry.geom_type in {"LineString", "LinearRing"} else []


def _write_path(lines: Sequence[NDArray[np.float64]], *, close: bool) -> str:
    end = "Z" if close else ""
    return "".join("M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in line[:, :2]) + end for line in lines)


def _write_pen(pen: Pen | None) -> str:
    if pen is None:
        return ""
    dashes = f' stroke-dasharray="{" ".join(f"{one:g}" for one in pen.dashes)}"' if pen.dashes else ""
    return (
        f' stroke="{_write_colour(pen.colour)}" stroke-width="{pen.width:g}" stroke-linejoin="round"{dashes}'
    )


def _write_colour(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
