"""Paint drawings as PNG with Pillow: no browser and no PDF reader is needed.

Fonts: DejaVu Sans or Liberation Sans where the machine has them, else the font inside Pillow, which has the letters of
Western European languages.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from segwatch.flows.report.drawing import WHITE, Area, Drawing, Label, Line, Pen, Raster, list_lines
from segwatch.geo.area import extract_polygons

_FONTS = {
    False: ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "Arial.ttf"),
    True: ("DejaVuSans-Bold.ttf", "LiberationSans-Bold.ttf", "NotoSans-Bold.ttf", "Arial Bold.ttf"),
}
#: Edges are smooth because everything is painted so many times larger and then made smaller.
_FINER = 2
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


class Painter:
    """A picture on which drawings are painted."""

    def __init__(self, width: float, height: float, *, dots_per_mm: float) -> None:
        from PIL import Image, ImageDraw

        self._scale = dots_per_mm * _FINER
        self._size = (round(width * self._scale), round(height * self._scale))
        self._image = Image.new("RGB", self._size, WHITE)
        self._draw = ImageDraw.Draw(self._image)

    def paint(self, drawing: Drawing, x: float = 0.0, y: float = 0.0) -> None:
        """Paint a drawing with its upper left corner at a place."""
        for shape in drawing.shapes:
            if isinstance(shape, Raster):
                self._paint_raster(shape, x, y)
            elif isinstance(shape, Label):
                self._paint_label(shape, x, y)
            elif isinstance(shape, Line):
                for line in list_lines(shape.geometry):
                    self._paint_line(line, shape.pen, x, y)
            else:
                self._paint_area(shape, x, y)

    def measure(self, text: str, size: float, *, bold: bool = False) -> float:
        """Measure the width of a text in millimetres."""
        return float(_load_font(round(size * self._scale), bold).getlength(text)) / self._scale

    def write_png(self, height: float) -> bytes:
        """Write the uppermost millimetres of the picture as PNG."""
        from PIL import Image

        rows = min(self._size[1], round(height * self._scale))
        whole = self._image.crop((0, 0, self._size[0], rows))
        small = whole.resize((self._size[0] // _FINER, rows // _FINER), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        # a map has few colours, and half of the bytes go with the rest
        small.save(file, "PNG", optimize=True)
        return file.getvalue()

    def _paint_raster(self, raster: Raster, x: float, y: float) -> None:
        from PIL import Image

        with Image.open(io.BytesIO(raster.jpeg)) as picture:
            size = (round(raster.width * self._scale), round(raster.height * self._scale))
            place = (round((raster.x + x) * self._scale), round((raster.y + y) * self._scale))
            self._image.paste(picture.convert("RGB").resize(size), place)

    def _paint_area(self, area: Area, x: float, y: float) -> None:
        polygons = extract_polygons(area.geometry)
        if area.fill is not None and polygons:
            self._fill(polygons, area, x, y)
        if area.pen is not None:
            for ring in (ring for one in polygons for ring in (one.exterior, *one.interiors)):
                self._paint_line(np.asarray(ring.coords), area.pen, x, y)

    def _fill(self, polygons: list[Any], area: Area, x: float, y: float) -> None:
        from PIL import Image, ImageDraw

        bounds, place = np.array([one.bounds for one in polygons]), np.array([x, y])
        west, north = np.floor((bounds[:, :2].min(0) + place) * self._scale).astype(int)
        east, south = np.ceil((bounds[:, 2:].max(0) + place) * self._scale).astype(int) + 1
        mask = Image.new("L", (int(max(1, east - west)), int(max(1, south - north))), 0)
        pen = ImageDraw.Draw(mask)
        # large ones first: a hole is painted before what lies in it
        for one in sorted(polygons, key=lambda one: -one.envelope.area):
            rings = [one.exterior, *one.interiors]
            for number, ring in enumerate(rings):
                points = self._to_pixels(np.asarray(ring.coords), x, y) - [west, north]
                pen.polygon(
                    [tuple(point) for point in points], fill=round(255 * area.opacity) if number == 0 else 0
                )
        self._image.paste(area.fill or WHITE, (int(west), int(north)), mask)

    def _paint_line(self, line: NDArray[np.float64], pen: Pen, x: float, y: float) -> None:
        points = self._to_pixels(line, x, y)
        width = max(1, round(pen.width * self._scale))
        for part in _dash(points, [one * self._scale for one in pen.dashes]) if pen.dashes else [points]:
            self._draw.line([tuple(point) for point in part], fill=pen.colour, width=width, joint="curve")

    def _paint_label(self, label: Label, x: float, y: float) -> None:
        from PIL import Image, ImageDraw

        font = _load_font(round(label.size * self._scale), label.bold)
        place = ((label.x + x) * self._scale, (label.y + y) * self._scale)
        rim = (
            {"stroke_width": round(label.size * self._scale / 8), "stroke_fill": WHITE} if label.halo else {}
        )
        if not label.turned:
            self._draw.text(place, label.text, label.colour, font, _ANCHORS[label.anchor], **rim)  # type: ignore[arg-type]
            return
        left, top, right, bottom = font.getbbox(label.text, anchor=_ANCHORS[label.anchor])
        size = (int(right - left) + 8, int(bottom - top) + 8)
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).text((4 - left, 4 - top), label.text, 255, font, _ANCHORS[label.anchor])
        turned = mask.rotate(90, expand=True)
        self._image.paste(label.colour, (round(place[0] + top - 4), round(place[1] - right - 4)), turned)

    def _to_pixels(self, line: NDArray[np.float64], x: float, y: float) -> NDArray[np.float64]:
        moved: NDArray[np.float64] = (line[:, :2] + np.array([x, y])) * self._scale
        return moved


def _dash(points: NDArray[np.float64], dashes: list[float]) -> Iterator[NDArray[np.float64]]:
    """Cut a line into dashes."""
    from shapely.geometry import LineString
    from shapely.ops import substring

    if len(points) < 2:
        return
    line, at, number = LineString(points), 0.0, 0
    while at < line.length:
        length = dashes[number % len(dashes)]
        if number % 2 == 0:
            part: BaseGeometry = substring(line, at, min(at + length, line.length))
            if part.geom_type == "LineString":
                yield np.asarray(part.coords)
        at, number = at + max(length, 0.5), number + 1


@lru_cache(maxsize=64)
def _load_font(size: int, bold: bool) -> Any:
    from PIL import ImageFont

    for name in _FONTS[bold]:
        try:
            return ImageFont.truetype(name, max(size, 4))
        except OSError:
            continue
    return ImageFont.load_default(max(size, 4))
