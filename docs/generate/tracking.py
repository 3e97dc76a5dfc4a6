"""Drawings of the tracking rules: simulated scenes go through the real tracking core, and what it says is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import shapely
from shapely.affinity import affine_transform
from shapely.geometry import Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from docs.generate import svg
from segwatch.geo.area import compute_area_m2
from segwatch.geo.crs import make_local_equal_area, to_crs, to_lonlat
from segwatch.geo.polygons import clean
from segwatch.geo.tracking.series import FoldInput, fold_series
from segwatch.geo.types.tracking import ChangeKind, Detection, TrackedObservation, TrackingStep, TrackState
from segwatch.geo.types.watch import TrackingSettings

_ORIGIN = (15.0, 46.0)
_CRS = make_local_equal_area(_ORIGIN)
_SERIES = UUID(int=1)
_START = datetime(2026, 5, 1, 10, tzinfo=UTC)
#: Metres: the ground that a panel shows, which is the watch's area.
_AREA = box(0, 0, 900, 600)
_SETTINGS = TrackingSettings(min_change_m2=500, gone_after=2)
_PANEL, _GAP, _TOP, _BOTTOM = (204.0, 136.0), 16.0, 44.0, 46.0
_OUTLINE_BEFORE = "#c2571a"
_COLOURS = ("#2f6fb3", "#c2571a", "#2e8b57", "#8e44ad")


@dataclass(frozen=True)
class Scene:
    """One acquisition: what the model finds, where the sky is clear, and the day."""

    day: int
    found: tuple[BaseGeometry, ...]
    cloud: BaseGeometry | None = None
    note: str = ""


def drawings() -> dict[str, str]:
    """Return every drawing by name."""
    made = {name: _strip(scenes, title) for name, (title, scenes) in _STORIES.items()}
    return made | {"late-scene": _late()}


_LAKE = Point(360, 300).buffer(190)
_POND = Point(720, 420).buffer(80)
_WEST, _EAST = _LAKE.difference(box(400, 0, 900, 600)), _LAKE.difference(box(0, 0, 440, 600))
_CLOUD = shapely.union_all(
    [Point(300, 320).buffer(210), Point(480, 260).buffer(170), Point(180, 260).buffer(150)]
)
_HALF_CLOUD = box(0, 0, 360, 600).intersection(_AREA)

_STORIES: dict[str, tuple[str, tuple[Scene, ...]]] = {
    "appeared": (
        "The first clear scene is the baseline; what comes later appeared",
        (Scene(0, (_LAKE,)), Scene(5, (_LAKE,)), Scene(10, (_LAKE, _POND))),
    ),
    "grew": (
        "Growth counts past one pixel along the edge and past the watch's minimum",
        (Scene(0, (_LAKE,)), Scene(5, (_LAKE.buffer(6),)), Scene(10, (_LAKE.buffer(60),))),
    ),
    "split": (
        "A split: the part with the largest overlap keeps the identity, lineage names the other one",
        (Scene(0, (_LAKE,)), Scene(5, (_WEST, _EAST))),
    ),
    "merged": (
        "A merge: the larger object keeps its identity, the other one ends in it",
        (Scene(0, (_WEST, _EAST)), Scene(5, (_LAKE,))),
    ),
    "moved": (
        "Moved: about as large as before, but elsewhere; long dashes: where it was",
        (
            Scene(0, (box(140, 200, 420, 420),)),
            Scene(5, (box(240, 200, 520, 420),)),
        ),
    ),
    "cloud": (
        "Clouds are no evidence: nothing shrinks or disappears under them",
        (
            Scene(0, (_LAKE,)),
            Scene(5, (), _CLOUD, "object hidden"),
            Scene(10, (_LAKE.difference(_HALF_CLOUD),), _HALF_CLOUD, "half hidden"),
            Scene(15, (_LAKE,)),
        ),
    ),
    "disappeared": (
        "Disappeared after two clear misses in a row, dated to the first; back under the same identity",
        (
            Scene(0, (_LAKE,)),
            Scene(5, (), None, "first miss"),
            Scene(10, ()),
            Scene(15, (_LAKE,)),
        ),
    ),
}


def fold(scenes: Sequence[Scene]) -> list[TrackingStep]:
    """Return what each scene did, folded in order of acquisition by the product's own code."""
    looks = [FoldInput(_observation(one), _SETTINGS) for one in sorted(scenes, key=lambda one: one.day)]
    return fold_series((), looks, series_id=_SERIES, origin=_ORIGIN)


def _observation(scene: Scene) -> TrackedObservation:
    footprint = _footprint(scene)
    found = [
        part
        for one in scene.found
        for part in shapely.get_parts(one.intersection(footprint))
        if isinstance(part, Polygon)
    ]
    return TrackedObservation(
        uuid5(_SERIES, f"observation {scene.day}"),
        uuid5(_SERIES, f"scene {scene.day}"),
        _START + timedelta(days=scene.day),
        _to_degrees(footprint),
        tuple(Detection("water", _to_degrees(one), 0.9, compute_area_m2(_to_degrees(one))) for one in found),
    )


def _footprint(scene: Scene) -> BaseGeometry:
    return _AREA if scene.cloud is None else _AREA.difference(scene.cloud)


def _to_degrees(shape: BaseGeometry) -> BaseGeometry:
    return clean(to_lonlat(shape.segmentize(200), _CRS))


def _strip(scenes: Sequence[Scene], title: str) -> str:
    parts = list(_panels(scenes, _TOP))
    width = max(3, len(scenes)) * (_PANEL[0] + _GAP) + _GAP
    return svg.document(width, _TOP + _PANEL[1] + _BOTTOM, [_heading(title), *parts], title)


def _heading(title: str) -> str:
    return svg.text(_GAP, 22, title, size=14, weight="600")


def _panels(scenes: Sequence[Scene], top: float) -> Iterator[str]:
    """One panel a scene: ground, cloud, the objects after it (one colour an identity) and what changed."""
    known: dict[UUID, TrackState] = {}
    colours: dict[UUID, str] = {}
    for position, (scene, step) in enumerate(zip(scenes, fold(scenes), strict=True)):
        before, known = known, known | {state.track_id: state for state in step.states}
        left = _GAP + position * (_PANEL[0] + _GAP)
        yield svg.polygon(_place(_AREA, left, top), 'fill="#eef3e6" stroke="#c5cfb5"')
        for state in sorted(known.values(), key=lambda one: (-one.area_m2, one.track_id)):
            colour = colours.setdefault(state.track_id, _COLOURS[len(colours) % len(_COLOURS)])
            if state.alive:
                shape = _place(to_crs(state.geometry, _CRS), left, top)
                yield svg.polygon(
                    shape, f'fill="{colour}" fill-opacity="0.55" stroke="{colour}" stroke-width="2"'
                )
        for found in scene.found:
            shape = _place(found.intersection(_footprint(scene)), left, top)
            yield svg.polygon(shape, f'fill="none" stroke="{svg.INK}" stroke-dasharray="3 3"')
        for change in step.changes:
            if change.kind is ChangeKind.MOVED:
                shape = _place(to_crs(before[change.track_id].geometry, _CRS), left, top)
                yield svg.polygon(
                    shape, f'fill="none" stroke="{_OUTLINE_BEFORE}" stroke-width="2" stroke-dasharray="10 5"'
                )
        if scene.cloud is not None:
            cloud = _place(scene.cloud.intersection(_AREA), left, top)
            yield svg.polygon(
                cloud, 'fill="#9aa5ad" fill-opacity="0.6" stroke="#7b8790" stroke-dasharray="4 3"'
            )
        yield svg.text(left, top + _PANEL[1] + 18, f"day {scene.day}", fill=svg.MUTED)
        yield svg.text(left, top + _PANEL[1] + 36, _said(step, scene), weight="600")


def _said(step: TrackingStep, scene: Scene) -> str:
    kinds = sorted({f"{one.kind.value}{' (baseline)' if one.baseline else ''}" for one in step.changes})
    dated = [one.valid_at for one in step.changes if one.valid_at != _START + timedelta(days=scene.day)]
    since = f", since day {(dated[0] - _START).days}" if dated else ""
    return (", ".join(kinds) or f"no change{': ' + scene.note if scene.note else ''}") + since


def _place(shape: BaseGeometry, left: float, top: float) -> BaseGeometry:
    scale = _PANEL[0] / _AREA.bounds[2]
    return affine_transform(shape, [scale, 0, 0, -scale, left, top + _PANEL[1]])


def _late() -> str:
    """Two rows: what was known before the scene of day 5 arrived, and after it."""
    first, late, last = Scene(0, (_LAKE,)), Scene(5, (_LAKE, _POND)), Scene(10, (_LAKE, _POND.buffer(50)))
    title = "A late scene: its day is folded in, later changes are derived anew"
    second = _TOP + _PANEL[1] + _BOTTOM + 36
    parts = [
        _heading(title),
        *_panels((first, last), _TOP),
        svg.text(
            _GAP,
            second - 12,
            "after the scene of day 5 arrived: the change of day 10 is retracted, two are new",
        ),
        *_panels((first, late, last), second),
    ]
    return svg.document(3 * (_PANEL[0] + _GAP) + _GAP, second + _PANEL[1] + _BOTTOM, parts, title)
