"""Count the changes that scenes raise which show the same ground in another way: no such change is true.

A real aerial image is segmented by a threshold and observed again displaced, in other light, on other grids and for a
moved area, through the product's own reading, tiles, chips, registration, tracking and judging. Each variant is
observed once between unaltered scenes, in alternation with them, and from some scene on for good; light also comes and
goes by degrees. Whatever that raises is provisional, and no later scene may confirm it.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from segwatch.benchmarks.imagery_scenes import serve_folder
from segwatch.db.ledger import LeasedObservation
from segwatch.flows.inference.segmenters import Segmenter
from segwatch.flows.inference.strips import StripReader
from segwatch.flows.inference.tiled import ObservationGroup, compute_overlap, predict_group, split_grid
from segwatch.geo.crs import to_lonlat
from segwatch.geo.tracking.fold import fold_observation
from segwatch.geo.tracking.ground import ObservedGround
from segwatch.geo.tracking.series import FoldInput, fold_series
from segwatch.geo.types.belief import BeliefStatus
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.segmentation import SegmentationRequest, TilePrediction
from segwatch.geo.types.source import BandRef, Profile
from segwatch.geo.types.tracking import GroundPiece, ObservationResult, TrackedObservation, TrackingStep
from segwatch.geo.types.watch import Instruction, TrackingSettings, Watch

Pixels = NDArray[np.uint8]

IMAGE = Path(__file__).resolve().parents[1] / "demo/imagery/naip-cottonwood/2009-08-18.tif"
GSD_M = 5.0
_MIN_POLYGON_M2 = 1000.0
#: Pixels by which an unchanged image is displaced, east and south.
_SHIFTS = [(0.6, 0.0), (0.5, 0.0), (0.0, -0.5), (-0.35, 0.35), (1.0, 0.0), (-0.7, -0.7), (0.0, 2.0), (-1.4, 1.4),
           (3.0, 0.0), (0.0, -3.0), (2.1, 2.1), (-3.0, 0.0)]  # fmt: skip
_QUICK_SHIFTS = [(0.6, 0.0), (-0.7, -0.7), (3.0, 0.0)]
#: The displacement of 3 m, first of both lists, that raised 15 alerts before scenes were registered.
_THREE_METRES = (0.6, 0.0)
#: Pixels by which the area is moved, east and south.
_AREA_MOVES = [(7, 13), (-40, 5), (3.4, -21.7)]
_ZONES = {"zone 13": "EPSG:32613", "zone 15": "EPSG:32615"}
#: Pixels of the image inside the area: left, top, right, bottom.
_AREA_PX = (45, 30, 890, 695)
_BEGAN = datetime(2024, 1, 1, 10, tzinfo=UTC)
_SERIES = UUID("5c6b9c0e-0d2e-5a61-9d57-6d1c2b8a4f10")
_ORDERS = {
    "once": (0, 0, 1, 0, 0),
    "alternating": (0, 0, 1, 0, 1, 0, 1),
    "lasting": (0, 0, 0, 1, 1, 1, 1),
    "ramping": (0, 0, 0.5, 0.75, 1, 1, 0.75, 0.5, 0),
}
"""Scenes by how far they are altered: 0 = not at all, 1 = wholly."""
_DEGREES = (0.5, 0.75)
#: Variants that a quick run observes in every order; a full run observes all.
_QUICK_ORDERED = ("displaced by 0.6, 0 px", "haze")

out = Console(width=110, highlight=False)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which an image shows the same ground differently."""

    group: str
    """shift, brightness, gamma, haze, grid or area."""
    name: str
    pixels: Pixels
    """(3, h, w)."""
    transform: Affine
    crs: str
    area_move: tuple[float, float] = (0.0, 0.0)
    """Pixels by which the area lies east and south of its place."""
    shift_px: tuple[float, float] | None = None
    """Known displacement of the image, pixels east and north."""
    degrees: tuple[Variant, ...] = ()
    """The same at each of the degrees between the unaltered image and this one; empty where there are none."""


@dataclass(frozen=True, slots=True)
class Alarms:
    """Changes that a variant raised; all are false."""

    provisional: int
    """Changes that were raised at all."""
    confirmed: int
    """Those that were confirmed at any time."""
    shift_error_px: float = 0.0
    """Largest error of the measured displacement, where it is known."""


class DarkWater:
    """Predicts water where the blurred image is dark."""

    version = "dark-water@1"
    tile_px = 256

    def segment(
        self, tiles: Sequence[Pixels], requests: Sequence[SegmentationRequest]
    ) -> list[list[TilePrediction]]:
        """See :class:`segwatch.flows.inference.segmenters.Segmenter`."""
        return [[self._predict(tile) for _ in requests] for tile in tiles]

    def _predict(self, tile: Pixels) -> TilePrediction:
        grey = ndimage.gaussian_filter(tile.mean(axis=2), 1.0)
        return TilePrediction(((80.0 - grey) / 8.0).astype(np.float32)[None], "water")


def run(*, quick: bool, segmenter: Segmenter | None = None) -> dict[str, float | int]:
    """Measure, print a table, and return the figures; ``segmenter`` replaces the threshold."""
    chosen = segmenter or DarkWater()
    base, *variants = make_variants(quick=quick)
    alarms: dict[str, list[Alarms]] = defaultdict(list)
    ordered: dict[str, list[Alarms]] = defaultdict(list)
    table = Table(
        "variant", "objects", "changes raised", "confirmed", "error of shift, px", *list(_ORDERS)[1:]
    )
    with tempfile.TemporaryDirectory() as folder, serve_folder(Path(folder)) as url:
        unaltered = observe(folder, url, base, chosen)
        before = 0
        for variant in variants:
            seen = observe(folder, url, variant, chosen)
            found = count_alarms(unaltered, {1: seen}, variant)
            alarms[variant.group].append(found)
            repeated = {}
            if not quick or variant.name in _QUICK_ORDERED:
                scenes = {1: seen} | {
                    degree: observe(folder, url, one, chosen)
                    for degree, one in zip(_DEGREES, variant.degrees, strict=False)
                }
                repeated = {
                    order: count_alarms(unaltered, scenes, variant, order)
                    for order in list(_ORDERS)[1:]
                    if order != "ramping" or variant.degrees
                }
            for order, one in repeated.items():
                ordered[order].append(one)
            table.add_row(
                variant.name,
                str(len(seen.detections)),
                str(found.provisional),
                str(found.confirmed),
                f"{found.shift_error_px:.2f}" if variant.shift_px else "",
                *(f"{one.confirmed} of {one.provisional}" for one in repeated.values()),
            )
            if variant.shift_px == _THREE_METRES:
                before = count_unregistered(unaltered, seen)
    out.print(table)
    out.print(f"3 m without registration: {before} changes among {len(unaltered.detections)} objects")
    every = [one for some in alarms.values() for one in some]
    return {
        "invariance_objects": len(unaltered.detections),
        "invariance_variants": len(variants),
        "invariance_false_alerts": sum(one.confirmed for one in every)
        + sum(one.confirmed for some in ordered.values() for one in some),
        "invariance_provisional": sum(one.provisional for one in every),
        **{f"invariance_{group}": sum(one.confirmed for one in some) for group, some in alarms.items()},
        **{
            f"invariance_{group}_provisional": sum(one.provisional for one in some)
            for group, some in alarms.items()
        },
        **{f"invariance_{order}": sum(one.confirmed for one in some) for order, some in ordered.items()},
        "invariance_shift_3m_provisional": alarms["shift"][0].provisional,
        "invariance_shift_3m_unregistered": before,
        "invariance_shift_error_px": round(max(one.shift_error_px for one in every), 3),
    }


# ---- variants of an image


def make_variants(*, quick: bool) -> list[Variant]:
    """Make the unaltered image, and its variants."""
    with rasterio.open(IMAGE) as file:
        base = Variant("base", "unaltered", file.read([1, 2, 3]), file.transform, file.crs.to_string())
    shifts = _QUICK_SHIFTS if quick else _SHIFTS
    return [
        base,
        *(_displace(base, east, south) for east, south in shifts),
        *_relight(base),
        *_regrid(base, quick=quick),
        *(
            replace(base, group="area", name=f"area moved by {east:g}, {south:g} px", area_move=(east, south))
            for east, south in _AREA_MOVES[: 2 if quick else None]
        ),
    ]


def _displace(base: Variant, east: float, south: float) -> Variant:
    name = f"displaced by {east:g}, {south:g} px"
    transform = Affine.translation(east * GSD_M, -south * GSD_M) * base.transform
    return replace(base, group="shift", name=name, transform=transform, shift_px=(east, -south))


def _relight(base: Variant) -> Iterator[Variant]:
    lights: dict[tuple[str, str], Callable[[NDArray[np.float64], float], NDArray[np.float64]]] = {
        ("brightness", "5 % brighter"): lambda light, degree: (1 + 0.05 * degree) * light,
        ("brightness", "10 % brighter"): lambda light, degree: (1 + 0.1 * degree) * light,
        ("brightness", "10 % darker"): lambda light, degree: (1 - 0.1 * degree) * light,
        ("gamma", "gamma 1.15"): lambda light, degree: light ** (1 / (1 + 0.15 * degree)),
        ("gamma", "gamma 0.87"): lambda light, degree: light ** (1 + 0.15 * degree),
        ("haze", "haze"): lambda light, degree: (1 - 0.15 * degree) * light + 0.12 * degree,
    }
    for (group, name), relight in lights.items():
        half, most, whole = (
            replace(
                base,
                group=group,
                name=name if degree == 1 else f"{name} at {degree:g}",
                pixels=np.clip(np.rint(255 * relight(base.pixels / 255.0, degree)), 1, 255).astype(np.uint8),
            )
            for degree in (*_DEGREES, 1)
        )
        yield replace(whole, degrees=(half, most))


def _regrid(base: Variant, *, quick: bool) -> Iterator[Variant]:
    """The image resampled to other grids, as other platforms deliver it."""
    count, height, width = base.pixels.shape
    bounds = rasterio.transform.array_bounds(height, width, base.transform)
    half = base.transform * Affine.translation(0.5, 0.5)
    grids = {"grid half a pixel off": (base.crs, half, width - 1, height - 1)}
    for name, crs in list(_ZONES.items())[: 1 if quick else None]:
        grids[f"grid of {name}"] = (
            crs,
            *calculate_default_transform(base.crs, crs, width, height, *bounds, resolution=GSD_M),
        )
    for name, (crs, transform, columns, rows) in grids.items():
        pixels = np.zeros((count, rows, columns), np.uint8)
        reproject(
            base.pixels,
            pixels,
            src_transform=base.transform,
            src_crs=base.crs,
            dst_transform=transform,
            dst_crs=crs,
            resampling=Resampling.bilinear,
            src_nodata=0,
            dst_nodata=0,
        )
        yield replace(base, group="grid", name=name, pixels=pixels, transform=transform, crs=crs)


# ---- observing and tracking


def observe(folder: str, url: str, variant: Variant, segmenter: Segmenter) -> ObservationResult:
    """Observe a variant as a worker would."""
    name = f"{variant.name.replace(' ', '-')}.tif"
    count, height, width = variant.pixels.shape
    made = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": "uint8", "tiled": True,
            "blockxsize": 256, "blockysize": 256, "compress": "deflate"}  # fmt: skip
    with rasterio.open(
        Path(folder) / name, "w", crs=variant.crs, transform=variant.transform, nodata=0, **made
    ) as file:
        file.write(variant.pixels)
    whole = to_lonlat(
        shapely.box(*rasterio.transform.array_bounds(height, width, variant.transform)),
        CRS.from_user_input(variant.crs),
    )
    href = f"{url}/{name}"
    item = Item("one", "lakes", href, _BEGAN, None, "made", "1", "", whole, {"image": href})
    scene = Scene("lakes", "made", "1", date(2024, 1, 1), _BEGAN, (item,), whole)
    group = ObservationGroup(
        (LeasedObservation(UUID(int=1), _make_watch(url, _make_area(variant)), 1),),
        frozenset({"127.0.0.1:*"}),
        segmenter.tile_px,
    )
    side = segmenter.tile_px
    with (
        ThreadPoolExecutor(1) as executor,
        StripReader(
            executor, scene, group.view, split_grid(group.view.grid, side), side - compute_overlap(side)
        ) as reading,
    ):
        ((_, result),) = predict_group(group, reading, segmenter, 4)
    if not isinstance(result, ObservationResult):
        raise TypeError(result.reason)
    return result


def _make_area(variant: Variant) -> BaseGeometry:
    """The area in EPSG:4326, which is that of the unaltered image unless it is moved itself."""
    with rasterio.open(IMAGE) as file:
        transform, crs = file.transform, CRS.from_user_input(file.crs.to_string())
    east, south = variant.area_move
    left, top, right, bottom = _AREA_PX
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return to_lonlat(shapely.Polygon([transform * (x + east, y + south) for x, y in corners]), crs)


def _make_watch(url: str, area: BaseGeometry) -> Watch:
    red, green, blue = (BandRef("image", index) for index in (1, 2, 3))
    profile = Profile("lakes", "lakes", "lakes", red, green, blue, low=0, high=255, gsd_m=GSD_M, nodata=0)
    tracking = TrackingSettings(tolerance_m=GSD_M)
    watch = Watch("lakes", Instruction("segment the water", ("water",)), area, profile, url, _BEGAN)
    return replace(watch, tracking=tracking, min_polygon_m2=_MIN_POLYGON_M2)


def count_alarms(
    unaltered: ObservationResult,
    scenes: Mapping[float, ObservationResult],
    variant: Variant,
    order: str = "once",
) -> Alarms:
    """Track a variant among unaltered scenes, and count the changes.

    Parameters
    ----------
    unaltered
        The unaltered scene.
    scenes
        What was observed of the variant, by degree.
    variant
        The variant.
    order
        once, alternating, lasting or ramping.
    """
    results = [scenes[degree] if degree else unaltered for degree in _ORDERS[order]]
    steps = _fold(results)
    raised = {
        (step.scene_id, change.track_id, change.kind)
        for step in steps
        for change in step.changes
        if not change.baseline
    }
    confirmed = {
        (one.change_scene_id, one.track_id, one.kind)
        for step in steps
        for one in step.judgements
        if one.belief.status is BeliefStatus.CONFIRMED
    }
    error = 0.0
    if variant.shift_px is not None:
        shift, (east, north) = steps[_ORDERS[order].index(1)].shift, variant.shift_px
        error = math.hypot(shift.east_m / GSD_M + east, shift.north_m / GSD_M + north)
    return Alarms(len(raised), len(confirmed), error)


def count_unregistered(unaltered: ObservationResult, seen: ObservationResult) -> int:
    """Count the changes that a scene raises after an unaltered one if nothing is registered."""
    first, second = _to_observation(0, unaltered), _to_observation(1, seen)
    (step,) = _fold([unaltered])
    ground = ObservedGround([GroundPiece(first.id, first.footprint)])
    found = fold_observation(
        step.states,
        second,
        TrackingSettings(tolerance_m=GSD_M),
        series_id=_SERIES,
        origin=_find_origin(unaltered),
        new=ground.find_new(second.footprint),
        min_polygon_m2=_MIN_POLYGON_M2,
    )
    return sum(not change.baseline for change in found.changes)


def _fold(results: Sequence[ObservationResult]) -> list[TrackingStep]:
    settings = TrackingSettings(tolerance_m=GSD_M)
    inputs = [
        FoldInput(_to_observation(number, result), settings, first=not number, min_polygon_m2=_MIN_POLYGON_M2)
        for number, result in enumerate(results)
    ]
    return fold_series([], inputs, series_id=_SERIES, origin=_find_origin(results[0]))


def _to_observation(number: int, result: ObservationResult) -> TrackedObservation:
    at = _BEGAN + timedelta(days=5 * number)
    identity = uuid5(_SERIES, str(number))
    return TrackedObservation(identity, identity, at, result.footprint, result.detections, result.chips)


def _find_origin(result: ObservationResult) -> tuple[float, float]:
    centre = result.footprint.centroid
    return centre.x, centre.y
