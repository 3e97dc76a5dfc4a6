"""Drawing of the architecture: who hands what to whom."""

from __future__ import annotations

from docs.generate import svg

_TITLE = "How a scene becomes polygons and alerts"
_WIDTH, _HEIGHT = 880.0, 500.0
_OUTSIDE, _FLOW, _LEDGER = ("#f4f0e6", "#c8b98f"), ("#e8f0fa", "#8aaed6"), ("#e9f5ec", "#7fb890")


def drawing() -> str:
    """Return the drawing."""
    parts = [
        svg.MARKER,
        *_box(20, 20, 250, 56, "STAC catalogs", "APIs, static catalogs, local files", _OUTSIDE),
        *_box(610, 20, 250, 56, "Event feeds, signed events", "GDACS, USGS, EONET, GeoRSS, CAP", _OUTSIDE),
        *_box(20, 126, 250, 64, "discover", "finds scenes, queues observations", _FLOW),
        *_box(610, 126, 250, 64, "poll_feeds, respond", "events, playbooks, disaster runs", _FLOW),
        *_box(310, 126, 260, 244, "PostgreSQL + PostGIS", "the ledger: schema segwatch", _LEDGER),
        *_lines(
            440,
            196,
            ("watches, scenes, items", "observations: state, lease, reason", "detections, footprints"),
        ),
        *_lines(440, 250, ("tracks, changes, lineage", "alerts, outbox, reviews", "events, circuits")),
        svg.text(440, 326, "schema watch: views for analysts", size=12, anchor="middle", weight="600"),
        svg.text(440, 344, "objects_now, changes, coverage ...", size=12, anchor="middle", fill=svg.MUTED),
        *_box(20, 216, 250, 64, "segment (gpu pool)", "reads, predicts, stitches masks", _FLOW),
        *_box(20, 306, 250, 64, "track", "folds a series in order, publishes", _FLOW),
        *_box(610, 216, 250, 64, "deliver", "sends the outbox", _FLOW),
        *_box(610, 306, 250, 64, "segwatch serve", "map, OGC API, tiles, alert feeds", _FLOW),
        *_box(20, 420, 250, 56, "Prefect", "schedules and runs the flows", _OUTSIDE),
        *_box(310, 420, 260, 56, "Analysts", "SQL, QGIS, reports", _OUTSIDE),
        *_box(610, 420, 250, 56, "Receivers, readers", "webhooks, mail, chat, browsers", _OUTSIDE),
        svg.arrow(145, 76, 145, 124),
        svg.arrow(735, 76, 735, 124),
        *(svg.arrow(270, y, 308, y) for y in (158, 248, 338)),
        svg.arrow(610, 158, 572, 158),
        *(svg.arrow(572, y, 608, y) for y in (248, 338)),
        svg.arrow(440, 370, 440, 418),
        svg.arrow(735, 370, 735, 418),
        svg.arrow(145, 420, 145, 372),
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
