"""Drawing of the architecture: who hands what to whom."""

from __future__ import annotations

from docs.generate import svg

_TITLE = "How a scene becomes polygons and alerts"
_WIDTH, _HEIGHT = 940.0, 616.0
_OUTSIDE, _FLOW, _LEDGER = ("#f4f0e6", "#c8b98f"), ("#e8f0fa", "#8aaed6"), ("#e9f5ec", "#7fb890")
_SERVER, _FRAME = ("#f3ecf7", "#b294c7"), ("#f8fafd", "#8aaed6")


def drawing() -> str:
    """Return the drawing: flows in blue, which Prefect starts; the web server runs by itself."""
    parts = [
        svg.MARKER,
        *_box(20, 20, 270, 56, "STAC catalogs", "items, and the imagery that they link to", _OUTSIDE),
        *_box(350, 20, 260, 56, "Prefect", "schedules and starts the flows (blue)", _OUTSIDE),
        *_box(670, 20, 250, 56, "Event feeds", "GDACS, USGS, EONET, GeoRSS, CAP", _OUTSIDE),
        svg.box(20, 106, 270, 314, fill=_FRAME[0], stroke=_FRAME[1]),
        svg.text(66, 127, "observe: for one watch", weight="600"),
        *_box(66, 140, 212, 56, "discover", "finds scenes, queues", _FLOW),
        *_box(66, 210, 212, 56, "segment (gpu pool)", "reads, predicts, stitches", _FLOW),
        *_box(66, 280, 212, 56, "track", "folds in order, publishes", _FLOW),
        *_box(66, 350, 212, 56, "deliver", "sends the outbox", _FLOW),
        *_box(350, 140, 260, 340, "PostgreSQL + PostGIS", "the ledger: schema segwatch", _LEDGER),
        *_lines(
            480,
            214,
            ("watches, scenes, items", "observations: state, lease, reason", "detections, footprints"),
        ),
        *_lines(
            480,
            268,
            ("tracks, changes, lineage", "alerts, outbox, reviews", "events, circuits", "trials, runs"),
        ),
        svg.text(480, 400, "schema watch: views for analysts", size=12, anchor="middle", weight="600"),
        svg.text(480, 418, "objects_now, changes, coverage ...", size=12, anchor="middle", fill=svg.MUTED),
        *_box(670, 140, 250, 56, "poll_feeds, respond", "events, playbooks, disaster runs", _FLOW),
        *_box(670, 206, 250, 56, "trial (gpu pool)", "tries instructions of readers", _FLOW),
        *_box(670, 272, 250, 56, "prune", "takes away what is too old", _FLOW),
        *_box(670, 345, 250, 56, "Signed events", "sent to POST /events", _OUTSIDE),
        *_box(670, 424, 250, 56, "segwatch serve", "map, OGC API, tiles, alert feeds", _SERVER),
        *_box(20, 540, 270, 56, "Receivers", "webhooks, mail, chat", _OUTSIDE),
        *_box(350, 540, 260, 56, "Analysts", "SQL, QGIS, reports", _OUTSIDE),
        *_box(670, 540, 250, 56, "Readers", "browsers, OGC clients, feed readers", _OUTSIDE),
        svg.arrow(256, 76, 256, 138),
        svg.line(43, 76, 43, 238),
        svg.arrow(43, 238, 64, 238),
        svg.arrow(350, 66, 292, 104),
        svg.arrow(610, 66, 668, 138),
        svg.arrow(795, 76, 795, 138),
        svg.arrow(670, 168, 612, 168),
        svg.arrow(278, 168, 348, 168),
        *(svg.arrow(350, y, 280, y) for y in (230, 300, 378)),
        *(svg.arrow(278, y, 348, y) for y in (246, 316)),
        svg.arrow(610, 226, 668, 226),
        svg.arrow(670, 242, 612, 242),
        svg.arrow(670, 300, 612, 300),
        svg.arrow(610, 442, 668, 442),
        svg.arrow(670, 462, 612, 462),
        svg.arrow(795, 401, 795, 422),
        svg.arrow(172, 406, 172, 538),
        svg.arrow(480, 480, 480, 538),
        svg.arrow(795, 480, 795, 538),
    ]
    return svg.document(_WIDTH, _HEIGHT, parts, _TITLE)


def _box(
    x: float, y: float, width: float, height: float, name: str, words: str, colours: tuple[str, str]
) -> tuple[str, ...]:
    centre = x + width / 2
    return (
        svg.box(x, y, width, height, fill=colours[0], stroke=colours[1]),
        svg.text(centre, y + 26, name, size=15, anchor="middle", weight="600"),
        svg.text(centre, y + 45, words, size=12, anchor="middle", fill=svg.MUTED),
    )


def _lines(x: float, y: float, lines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        svg.text(x, y + 18 * position, one, size=12, anchor="middle") for position, one in enumerate(lines)
    )
