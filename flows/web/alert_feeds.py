"""Alerts as feeds: Atom (RFC 4287) with GeoRSS Simple, each entry with its alert as CAP 1.2 (OASIS).

An alert keeps its id for good. What does not hold after all stays in the feed, changed, and its CAP message becomes a
cancel of those before; should it hold again, or its ground be another one, an update of them.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET  # writing only; nothing from outside is parsed here

import shapely
from fastapi import APIRouter, HTTPException, Request, Response
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine

from segwatch.db.messages import outline
from segwatch.flows.web import queries
from segwatch.geo.antimeridian import bounds_of, box_of, crosses, name_bounds
from segwatch.geo.area import polygonal_parts

_ATOM, _GEORSS = "http://www.w3.org/2005/Atom", "http://www.georss.org/georss"
_OPENSEARCH = "http://a9.com/-/spec/opensearch/1.1/"
_CAP = "urn:oasis:names:tc:emergency:cap:1.2"
_SENDER = "segwatch"
#: What CAP calls a correction, and what it says to people.
_CORRECTIONS = {
    "retracted": ("Cancel", "The change does not hold after all."),
    "reinstated": ("Update", "The change holds after all."),
    "updated": ("Update", "The changed ground is another one than was told before."),
}
_MOST_ENTRIES = 200
for _prefix, _space in (("", _ATOM), ("georss", _GEORSS), ("cap", _CAP), ("opensearch", _OPENSEARCH)):
    ET.register_namespace(_prefix, _space)
#: What XML 1.0 cannot hold, in whatever way it is written.
_NO_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
#: From which score on the CAP standard's word for more than an even chance fits.
_LIKELY = 0.5


def router(reading: Engine) -> APIRouter:
    """``GET /feeds/WATCH/atom.xml`` and ``GET /feeds/cap/ALERT.xml``."""
    routes = APIRouter()

    @routes.get("/feeds/{watch}/atom.xml", response_class=Response)
    def atom(watch: str, request: Request) -> Response:
        """The newest alerts of a watch, as an Atom feed."""
        with reading.connect() as conn:
            rows, count = queries.feed(conn, watch, _MOST_ENTRIES)
            if not rows and watch not in {one["watch"] for one in queries.watches(conn)}:
                raise HTTPException(404, f"no watch named {watch!r} has been observed")
        return _answer(_feed(watch, rows, count, str(request.base_url)), "application/atom+xml")

    @routes.get("/feeds/cap/{alert_id}.xml", response_class=Response)
    def cap(alert_id: UUID) -> Response:
        """One alert as a CAP message: the last one about it."""
        with reading.connect() as conn:
            row = queries.alert(conn, alert_id)
        if row is None:
            raise HTTPException(404, f"there is no alert {alert_id}")
        return _answer(_message(row), "application/cap+xml")

    return routes


def _answer(root: ET.Element, kind: str) -> Response:
    return Response(ET.tostring(root, encoding="utf-8", xml_declaration=True), media_type=kind)


def _feed(watch: str, rows: queries.Rows, count: int, base: str) -> ET.Element:
    root = ET.Element(f"{{{_ATOM}}}feed")
    newest = max((_changed(row) for row in rows), default=datetime.fromtimestamp(0, UTC))
    _add(root, _ATOM, ("id", f"urn:segwatch:watch:{watch}"), ("title", f"Alerts of {watch}"))
    _add(root, _ATOM, ("updated", newest.isoformat()))
    _add(root, _ATOM, ("subtitle", f"{len(rows)} of {count} alerts, those raised or corrected last"))
    _add(root, _OPENSEARCH, ("totalResults", str(count)), ("itemsPerPage", str(_MOST_ENTRIES)))
    _add(_under(root, _ATOM, "author"), _ATOM, ("name", _SENDER))
    for row in rows:
        entry = _under(root, _ATOM, "entry")
        _add(
            entry,
            _ATOM,
            ("id", f"urn:uuid:{row['alert_id']}"),
            ("title", _headline(row)),
            ("updated", _changed(row).isoformat()),
            ("published", _utc(row["created_at"]).isoformat()),
            ("summary", _description(row)),
        )
        cap = f"{base}feeds/cap/{row['alert_id']}.xml"
        _under(entry, _ATOM, "link", rel="alternate", type="application/cap+xml", href=cap)
        for href in row["item_hrefs"] or ():
            _under(entry, _ATOM, "link", rel="related", href=href)
        _under(entry, _ATOM, "category", term=row["kind"])
        _add(entry, _GEORSS, *_place(_shape(row)))
    return root


def _place(shape: BaseGeometry) -> list[tuple[str, str]]:
    """GeoRSS Simple has rings without holes; what has more is told by its box. Latitude comes first.

    What the antimeridian splits is told in parts, as few readers know a box that crosses it.
    """
    parts = polygonal_parts(shape)
    if (len(parts) == 1 or crosses(shape)) and not any(part.interiors for part in parts):
        return [("polygon", _latitudes_first(part)) for part in parts]
    boxes = [bounds_of(part) for part in polygonal_parts(box_of(bounds_of(shape)))]
    return [("box", f"{south:.6f} {west:.6f} {north:.6f} {east:.6f}") for west, south, east, north in boxes]


def _latitudes_first(part: Polygon) -> str:
    return " ".join(f"{y:.6f} {x:.6f}" for x, y in part.exterior.coords)


def _message(row: dict[str, Any]) -> ET.Element:
    root = ET.Element(f"{{{_CAP}}}alert")
    *earlier, (identifier, sent) = _said(row)
    kind, note = _CORRECTIONS[row["corrections"][-1]] if earlier else ("Alert", "")
    _add(
        root,
        _CAP,
        ("identifier", identifier),
        ("sender", _SENDER),
        ("sent", _cap_time(sent)),
        ("status", "Actual"),
        ("msgType", kind),
        ("scope", "Public"),
    )
    if earlier:
        references = (f"{_SENDER},{name},{_cap_time(moment)}" for name, moment in earlier)
        _add(root, _CAP, ("note", note), ("references", " ".join(references)))
    info = _under(root, _CAP, "info")
    _add(
        info,
        _CAP,
        ("language", "en"),
        ("category", "Env"),
        ("event", f"{row['target']} {row['kind']}"),
        ("urgency", "Unknown"),
        ("severity", "Unknown"),
        ("certainty", "Likely" if row["score"] > _LIKELY else "Possible"),
        ("effective", _cap_time(row["valid_at"])),
        ("headline", _headline(row)),
        ("description", _description(row)),
    )
    shape = _shape(row)
    area = _under(info, _CAP, "area")
    _add(area, _CAP, ("areaDesc", name_bounds(bounds_of(shape))))
    for polygon in polygonal_parts(shape):
        _add(area, _CAP, ("polygon", " ".join(f"{y:.6f},{x:.6f}" for x, y in polygon.exterior.coords)))
    return root


def _shape(row: dict[str, Any]) -> BaseGeometry:
    small, _ = outline(shapely.from_wkb(str(row["geom"])))
    return shapely.from_geojson(json.dumps(small))


def _headline(row: dict[str, Any]) -> str:
    before = "Retracted: " if row["retracted_at"] else ""
    return f"{before}{row['watch']}: {row['target']} {row['kind']}"


def _description(row: dict[str, Any]) -> str:
    because = f"Retracted: {row['retracted_because']}. " if row["retracted_because"] else ""
    return because + (
        f"{row['before_m2'] / 1e4:.2f} ha before, {row['after_m2'] / 1e4:.2f} ha after, score {row['score']:.2f}; "
        f"seen {_utc(row['valid_at']).isoformat()}; rule {row['rule']}; instruction: {row['instruction']}; "
        f"model {row['model']}; object {row['track_id']}"
    )


def _said(row: dict[str, Any]) -> list[tuple[str, datetime]]:
    """Identifier and time of every message about an alert; each in a whole second after the one before."""
    said = [(str(row["alert_id"]), _utc(row["created_at"]))]
    for ordinal, moment in enumerate(row["corrected_at"], start=1):
        earliest = said[-1][1] + timedelta(seconds=1)
        said.append((f"{row['alert_id']}.{ordinal}", max(_utc(moment), earliest)))
    return said


def _changed(row: dict[str, Any]) -> datetime:
    return _said(row)[-1][1]


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _cap_time(moment: datetime) -> str:
    """CAP knows no Z: UTC is written as -00:00."""
    return f"{_utc(moment):%Y-%m-%dT%H:%M:%S}-00:00"


def _under(parent: ET.Element, space: str, name: str, **attributes: str) -> ET.Element:
    safe = {key: _NO_XML.sub("\ufffd", value) for key, value in attributes.items()}
    return ET.SubElement(parent, f"{{{space}}}{name}", safe)


def _add(parent: ET.Element, space: str, *named: tuple[str, str]) -> None:
    for name, value in named:
        _under(parent, space, name).text = _NO_XML.sub("\ufffd", value)
