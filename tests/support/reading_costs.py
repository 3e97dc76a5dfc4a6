"""Reads files by the product's reader in this process and tells what it cost: run as a child by tests.

python -m tests.support.reading_costs URL NAME... -> a JSON list of [name, reason or null, peak MiB so far, seconds]
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

from shapely.geometry import box

from segwatch.geo.errors import GeoError
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import read_scene
from segwatch.geo.types.scene import Item, Scene
from tests.support.images import GRID

_SQUARE = box(14, 45, 16, 47)


def main() -> None:
    """Read each file as a scene of its own."""
    url, *names = sys.argv[1:]
    profile, now, told = profiles.load("rgb-cog"), datetime.now(UTC), []
    for name in names:
        item = Item(name, "visual", url, now, None, "made", "1", "", _SQUARE, {"visual": f"{url}/{name}"})
        scene = Scene("visual", "made", "1", date(2024, 5, 1), now, (item,), _SQUARE)
        began, reason = time.monotonic(), None
        try:
            read_scene(scene, profile, GRID, allowed_hosts=["127.0.0.1:*"])
        except GeoError as error:
            reason = f"{type(error).__name__}: {error}"
        told.append([name, reason, _peak_mib(), time.monotonic() - began])
    sys.stdout.write(json.dumps(told))


def _peak_mib() -> float:
    (line,) = (
        one
        for one in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        if one.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
