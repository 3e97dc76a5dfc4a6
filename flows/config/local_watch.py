"""Write a watch file over everything that a source of local files shows.

The file is written once and is the user's from then on; its area is a file beside it, which follows the source: it
grows with files of new ground.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from segwatch.flows.config.geojson import read_geometry_file
from segwatch.flows.config.yaml_document import parse_yaml
from segwatch.flows.errors import ConfigError
from segwatch.geo.area import compute_area_m2
from segwatch.geo.bounded import operations
from segwatch.geo.errors import TooComplex
from segwatch.geo.sources.local.registry import LocalSource, write_atomically
from segwatch.geo.sources.local.stac import compute_ground
from segwatch.geo.types.source import Profile

WATCH_FILE, AREA_FILE = "watch.yaml", "area.geojson"
#: Pixels of the smallest polygon and of the smallest change that are reported.
_MIN_POLYGON_PX, _MIN_CHANGE_PX = 25, 50
#: Share of new ground from which the area follows: grids of flights over one place differ by a pixel or so.
_MIN_GROWTH = 0.01
_START = "1900-01-01T00:00:00Z"
_ASKING = re.compile(
    r"^(please\s+)?(segment|find|mark|detect|map|show|outline|delineate|extract)\s+(me\s+)?(all\s+)?(the\s+)?",
    re.IGNORECASE,
)
_AND = re.compile(r"\s*,\s*and\s+|\s*,\s*|\s+and\s+", re.IGNORECASE)
_MAX_TARGETS = 8
_HEAD = """\
# Written by segwatch source add; yours from now on. After a change: segwatch apply THIS FILE
# Its area, area.geojson, follows the files of the source.
"""


def derive_targets(instruction: str) -> tuple[str, ...]:
    """Derive labels from an instruction: ``segment the water and all boats`` asks for ``water`` and ``boats``."""
    asked = _ASKING.sub("", instruction.strip().rstrip(".!"))
    parts = (re.sub(r"^(all|the|every)\s+", "", part.strip()) for part in _AND.split(asked))
    return tuple(dict.fromkeys(part for part in parts if part))[:_MAX_TARGETS]


def write_watch(source: LocalSource, profile: Profile, instruction: str, targets: Sequence[str] = ()) -> Path:
    """Write the watch file of a source, unless there is one, and its area.

    Raises
    ------
    ConfigError
        There is a watch file with another instruction.
    """
    path = source.folder / WATCH_FILE
    if path.exists():
        known = _read_instruction(path)
        if known != instruction:
            raise ConfigError(
                f"{path} asks {known!r}; change it there and run: segwatch apply {path}; or register the folder under "
                "another --name"
            )
    else:
        document = _make_document(source, profile, instruction, targets)
        text = _HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        write_atomically(path, text.encode())
    update_area(source)
    return path


def update_area(source: LocalSource) -> bool:
    """Let the area of a source's watch follow its files; False where it stayed as it was."""
    path, ground = source.folder / AREA_FILE, compute_ground(source.read_items().values())
    if path.exists():
        known = read_geometry_file(path)
        if not _has_grown(known, ground):
            return False
        ground = operations.union_all([known, ground])
    write_atomically(
        path, json.dumps({"type": "Feature", "properties": {}, "geometry": mapping(ground)}).encode()
    )
    return True


def _has_grown(known: BaseGeometry, ground: BaseGeometry) -> bool:
    try:
        return compute_area_m2(operations.difference(ground, known)) > _MIN_GROWTH * compute_area_m2(known)
    except TooComplex:
        return True


def _make_document(
    source: LocalSource, profile: Profile, instruction: str, targets: Sequence[str]
) -> dict[str, Any]:
    pixel_m2 = profile.gsd_m**2
    return {
        "version": 1,
        "name": source.name,
        "instruction": instruction,
        "targets": list(targets or derive_targets(instruction)),
        "area": {"file": AREA_FILE},
        "source": {"local": source.name},
        "start": _START,
        "min_polygon_m2": float(f"{_MIN_POLYGON_PX * pixel_m2:.3g}"),
        "tracking": {"min_change_m2": float(f"{_MIN_CHANGE_PX * pixel_m2:.3g}")},
        "rules": [{"name": "any-change", "kinds": ["appeared", "grew", "shrank", "disappeared"]}],
    }


def _read_instruction(path: Path) -> str:
    document = parse_yaml(path.read_bytes(), str(path))
    return str(document.get("instruction")) if isinstance(document, dict) else ""
