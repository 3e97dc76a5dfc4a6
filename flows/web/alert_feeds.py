"""Alerts as feeds: Atom (RFC 4287) with GeoRSS Simple; each entry links to its alert as a CAP 1.2 (OASIS) message.

An alert keeps its id. A retracted or refuted alert stays in the feed, and its CAP message becomes a cancel of the
earlier ones; if it is confirmed or reinstated, or its geometry changes, the message becomes an update of them.
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

from segwatch.db import analyst
from segwatch.db.messages import to_bounded_geojson
from segwatch.flows.web import schemas
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.known_watches import check_watch
from segwatch.geo.antimeridian import compute_bounds, crosses_antimeridian, format_bounds, to_box
from segwatch.geo.area import extract_polygons
from segwatch.geo.text.beliefs import describe_belief
from segwatch.geo.text.opinions import describe_agreement, describe_change_evidence
from segwatch.geo.text.shares import format_share

_ATOM, _GEORSS = "http://www.w3.org/2005/Atom", "http://www.georss.org/georss"
_OPENSEARCH = "http://a9.com/-/spec/opensearch/1.1/"
_CAP = "urn:oasis:names:tc:emergency:cap:1.2"
_SENDER = "segwatch"
#: CAP message type and note by kind of correction.
_CORRECTIONS = {
    "provisional": ("Update", "Further observations leave it uncertain again whether the change happened."),
    "confirmed": ("Update", "The change was confirmed by further observations."),
    "refuted": ("Cancel", "The change was refuted by further observations."),
    "retracted": ("Cancel", "The change was retracted: later evidence shows that it did not happen."),
    "reinstated": ("Update", "The change was reinstated: later evidence confirms it."),
    "updated": ("Update", "The geometry of the change was corrected."),
}
_MAX_ENTRIES = 200
for _prefix, _space in (("", _ATOM), ("georss", _GEORSS), ("cap", _CAP), ("opensearch", _OPENSEARCH)):
    ET.register_namespace(_prefix, _space)
#: Characters that XML 1.0 does not allow, not even escaped.
_NO_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
#: Confidence above which CAP's certainty "Likely" (a chance above 50 %) is used; the score, where nothing is judged.
_LIKELY = 0.5


def make_router(reading: Engine) -> APIRouter:
    """Make the routes ``GET /feeds/WATCH/atom.xml`` and ``GET /feeds/cap/ALERT.xml``."""
    routes = APIRouter()

    @routes.get(
        "/feeds/{watch}/atom.xml",
        response_class=Response,
        responses={**schemas.describe_content("application/atom+xml", "An Atom feed"), **REFUSALS},
    )
    def atom(watch: str, request: Request) -> Response:
        """Return the newest alerts of a watch as an Atom feed."""
        with reading.connect() as conn:
            check_watch(conn, watch)
            rows, count = analyst.list_alerts_for_feed(conn, watch, _MAX_ENTRIES)
        return _respond(_make_feed(watch, rows, count, str(request.base_url)), "application/atom+xml")

    @routes.get(
        "/feeds/cap/{alert_id}.xml",
        response_class=Response,
        responses={**schemas.describe_content("application/cap+xml", "A CAP 1.2 message"), **REFUSALS},
    )
    def cap(alert_id: UUID) -> Response:
        """Return an alert as a CAP message, with all corrections so far."""
        with reading.connect() as conn:
            row = analyst.read_alert_for_feed(conn, alert_id)
        if row is None:
            raise HTTPException(404, f"there is no alert {alert_id}")
        return _respond(_make_cap(row), "application/cap+xml")

    return routes


def _respond(root: ET.Element, kind: str) -> Response:
    return Response(ET.tostring(root, encoding="utf-8", xml_declaration=True), media_type=kind)


def _make_feed(watch: str, rows: analyst.Rows, count: int, base: str) -> ET.Element:
    root = ET.Element(f"{{{_ATOM}}}feed")
    newest = max((_updated_at(row) for row in rows), default=datetime.fromtimestamp(0, UTC))
    _add_texts(root, _ATOM, ("id", f"urn:segwatch:watch:{watch}"), ("title", f"Alerts of {watch}"))
    _add_texts(root, _ATOM, ("updated", newest.isoformat()))
    _add_texts(root, _ATOM, ("subtitle", f"{len(rows)} of {count} alerts, those raised or corrected last"))
    _add_texts(root, _OPENSEARCH, ("totalResults", str(count)), ("itemsPerPage", str(_MAX_ENTRIES)))
    _add_texts(_add_element(root, _ATOM, "author"), _ATOM, ("name", _SENDER))
    for row in rows:
        entry = _add_element(root, _ATOM, "entry")
        _add_texts(
            entry,
            _ATOM,
            ("id", f"urn:uuid:{row['alert_id']}"),
            ("title", _make_headline(row)),
            ("updated", _updated_at(row).isoformat()),
            ("published", _utc(row["created_at"]).isoformat()),
            ("summary", _describe(row)),
        )
        cap = f"{base}feeds/cap/{row['alert_id']}.xml"
        _add_element(entry, _ATOM, "link", rel="alternate", type="application/cap+xml", href=cap)
        for href in row["item_hrefs"] or ():
            _add_element(entry, _ATOM, "link", rel="related", href=href)
        _add_element(entry, _ATOM, "category", term=row["kind"])
        _add_texts(entry, _GEORSS, *_write_georss(_simplify(row)))
    return root


def _write_georss(geometry: BaseGeometry) -> list[tuple[str, str]]:
    """Write a geometry in GeoRSS Simple, latitude first: its polygon, or its box if it has holes or several parts.

    Geometries that the antimeridian splits are written in parts, because few readers know boxes that cross it.
    """
    parts = extract_polygons(geometry)
    if (len(parts) == 1 or crosses_antimeridian(geometry)) and not any(part.interiors for part in parts):
        return [("polygon", _write_ring(part)) for part in parts]
    boxes = [compute_bounds(part) for part in extract_polygons(to_box(compute_bounds(geometry)))]
    return [("box", f"{south:.6f} {west:.6f} {north:.6f} {east:.6f}") for west, south, east, north in boxes]


def _write_ring(part: Polygon) -> str:
    return " ".join(f"{y:.6f} {x:.6f}" for x, y in part.exterior.coords)


def _make_cap(row: dict[str, Any]) -> ET.Element:
    root = ET.Element(f"{{{_CAP}}}alert")
    *earlier, (identifier, sent) = _list_messages(row)
    kind, note = _choose_type(row)
    _add_texts(
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
        _add_texts(root, _CAP, ("note", note), ("references", " ".join(references)))
    info = _add_element(root, _CAP, "info")
    _add_texts(
        info,
        _CAP,
        ("language", "en"),
        ("category", "Env"),
        ("event", f"{row['target']} {row['kind']}"),
        ("urgency", "Unknown"),
        ("severity", "Unknown"),
        ("certainty", _choose_certainty(row)),
        ("effective", _cap_time(row["valid_at"])),
        ("headline", _make_headline(row)),
        ("description", _describe(row)),
    )
    geometry = _simplify(row)
    area = _add_element(info, _CAP, "area")
    _add_texts(area, _CAP, ("areaDesc", format_bounds(compute_bounds(geometry))))
    for polygon in extract_polygons(geometry):
        _add_texts(area, _CAP, ("polygon", " ".join(f"{y:.6f},{x:.6f}" for x, y in polygon.exterior.coords)))
    return root


def _choose_type(row: dict[str, Any]) -> tuple[str, str]:
    """Choose message type and note. What was refuted stays cancelled when only its geometry is corrected."""
    decided = [one for one in row["corrections"] if one != "updated"]
    if row["change_status"] == "refuted" and decided[-1:] == ["refuted"]:
        return _CORRECTIONS["refuted"]
    return _CORRECTIONS[row["corrections"][-1]] if row["corrections"] else ("Alert", "")


def _choose_certainty(row: dict[str, Any]) -> str:
    """Choose CAP's certainty from the belief: determined by observations, likely, possible, or not expected."""
    decided = {"confirmed": "Observed", "refuted": "Unlikely"}.get(row["change_status"])
    sure = row["score"] if row["confidence"] is None else row["confidence"]
    return decided or ("Likely" if sure > _LIKELY else "Possible")


def _simplify(row: dict[str, Any]) -> BaseGeometry:
    small, _ = to_bounded_geojson(shapely.from_wkb(str(row["geom"])))
    return shapely.from_geojson(json.dumps(small))


def _make_headline(row: dict[str, Any]) -> str:
    before = {"refuted": "Refuted: ", "provisional": "Provisional: "}.get(row["change_status"], "")
    if row["retracted_at"]:
        before = "Retracted: "
    return f"{before}{row['watch']}: {row['target']} {row['kind']}"


def _describe(row: dict[str, Any]) -> str:
    because = f"Retracted: {row['retracted_because']}. " if row["retracted_because"] else ""
    return because + (
        f"{describe_belief(row, status='change_status')}; "
        f"{row['before_m2'] / 1e4:.2f} ha before, {row['after_m2'] / 1e4:.2f} ha after, "
        f"score {format_share(row['score'])}; "
        f"{describe_change_evidence(row['evidence'])}; {describe_agreement(row['shadow_share'], row['shadow_iou'])}; "
        f"accuracy: {row['accuracy']}; acquired {_utc(row['valid_at']).isoformat()}; "
        f"rule {row['rule']}; instruction: {row['instruction']}; "
        f"model {row['model']}; object {row['track_id']}"
    )


def _list_messages(row: dict[str, Any]) -> list[tuple[str, datetime]]:
    """List identifier and time of every message about an alert; times are distinct whole seconds."""
    sent = [(str(row["alert_id"]), _utc(row["created_at"]))]
    for ordinal, moment in enumerate(row["corrected_at"], start=1):
        earliest = sent[-1][1] + timedelta(seconds=1)
        sent.append((f"{row['alert_id']}.{ordinal}", max(_utc(moment), earliest)))
    return sent


def _updated_at(row: dict[str, Any]) -> datetime:
    return _list_messages(row)[-1][1]


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _cap_time(moment: datetime) -> str:
    """Format a time for CAP, which writes UTC as -00:00 and has no Z."""
    return f"{_utc(moment):%Y-%m-%dT%H:%M:%S}-00:00"


def _add_element(parent: ET.Element, space: str, name: str, **attributes: str) -> ET.Element:
    safe = {key: _NO_XML.sub("\ufffd", value) for key, value in attributes.items()}
    return ET.SubElement(parent, f"{{{space}}}{name}", safe)


def _add_texts(parent: ET.Element, space: str, *named: tuple[str, str]) -> None:
    for name, value in named:
        _add_element(parent, space, name).text = _NO_XML.sub("\ufffd", value)
