"""The largest document that may be sent, made of knots, costs a few hundred MB; good entries beside them are read."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.hostile_shapes import as_geojson, knot

_PROGRAM = """
import pathlib, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
from segwatch.geo.events.document import read_events
from segwatch.geo.types.event import Event
found = list(read_events(sys.stdin.buffer.read(), "f"))
# of this program alone: what getrusage tells begins with the peak of the process that started it
peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]
print(sum(isinstance(one, Event) for one in found), len(found), peak)
"""
_MOST_MIB = 500


def test_a_document_full_of_knots_costs_little_memory() -> None:
    said = {
        "kind": "flood",
        "title": "Dam",
        "occurred_at": "2024-05-01T00:00:00Z",
        "updated_at": "2024-05-01T00:00:00Z",
    }
    knots = [as_geojson(knot(6000)), as_geojson(knot(300)), as_geojson(knot(90_000))]
    places = [*knots[:2] * 8, knots[2], {"type": "Point", "coordinates": [15, 46]}]
    features = [
        {"type": "Feature", "id": f"{number}", "geometry": place, "properties": said}
        for number, place in enumerate(places)
    ]
    document = json.dumps({"type": "FeatureCollection", "features": features}).encode()
    assert len(document) > 3 * 2**20
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM], input=document, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    events, entries, kib = map(int, done.stdout.split())
    assert (events, entries) == (1, len(places))
    assert kib < _MOST_MIB * 1024
