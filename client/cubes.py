"""Scenes over time as lazy rasters: dimensions time, band, y, x; names, units and grid mapping by the CF conventions.

Every chunk is one task of Dask that reads its window when it is computed, and no other pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from segwatch.client.arguments import Box
from segwatch.client.errors import BadRequest
from segwatch.client.extras import require_analysis
from segwatch.client.scenes import NOT_OBSERVED, SceneRow, Span, WatchImagery
from segwatch.geo.raster import RGB, make_coordinates
from segwatch.geo.sources.rasters.pixels import SceneWindow

#: Largest number of chunks of one raster: Dask holds a task for each.
_MAX_CHUNKS = 200_000
CONVENTIONS = "CF-1.11"
GRID_MAPPING = "spatial_ref"


@dataclass(frozen=True, slots=True)
class _Layers:
    """What is read of one window at once."""

    pixels: NDArray[np.float32]
    """(3, H, W), NaN where not valid."""
    valid: NDArray[np.bool_]
    clear: NDArray[np.bool_]


def make_scenes(
    imagery: WatchImagery,
    span: Span,
    boxes: Sequence[Box] | None,
    states: Sequence[str] | None,
    chunk: int,
) -> xr.Dataset:
    """Make the raster of the scenes; see :meth:`segwatch.client.session.Session.scenes`."""
    require_analysis("s.scenes()", "dask")
    grid = imagery.cut_grid(boxes)
    return _make_dataset(imagery, imagery.list_scenes(span, states), grid, chunk)


def make_cube(
    imagery: WatchImagery,
    span: Span,
    boxes: Sequence[Box] | None,
    targets: Sequence[str] | None,
    chunk: int,
) -> xr.Dataset:
    """Make the raster of observed scenes with predictions; see :meth:`segwatch.client.session.Session.cube`."""
    require_analysis("s.cube()", "dask")
    chosen = imagery.targets if targets is None else tuple(targets)
    unknown = [one for one in chosen if one not in imagery.targets]
    if unknown or not chosen:
        raise BadRequest(
            f"targets: {', '.join(map(repr, unknown)) or 'none given'}; those of watch {imagery.watch} are: "
            f"{', '.join(imagery.targets)}"
        )
    grid, scenes = imagery.cut_grid(boxes), imagery.list_scenes(span)
    made = _make_dataset(imagery, scenes, grid, chunk)
    made = made.assign_coords(target=("target", np.array(chosen, "U")))
    made["prediction"] = (
        ("time", "target", "y", "x"),
        _make_prediction(imagery, scenes, chosen, grid, chunk),
    )
    made["prediction"].attrs = _describe(
        "detections of the scene",
        flag_values=np.array([0, 1, NOT_OBSERVED], np.uint8),
        flag_meanings="absent present not_observed",
    )
    made["model"] = ("time", np.array([one.model for one in scenes], "U"))
    made["model"].attrs = {"long_name": "name and version of the model"}
    return made.set_coords("model")


def _make_dataset(imagery: WatchImagery, scenes: Sequence[SceneRow], grid: GeoBox, chunk: int) -> xr.Dataset:
    if chunk < 1:
        raise BadRequest(f"chunk: {chunk} pixels are too few; at least 1")
    layers = _LayerArrays(imagery, grid, chunk)
    layers.check(len(scenes))
    coordinates = make_coordinates(grid)
    coordinates["y"].attrs = {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"}
    coordinates["x"].attrs = {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"}
    made = xr.Dataset(
        {
            "pixels": (("time", "band", "y", "x"), layers.stack(scenes, "pixels", (3,), np.float32)),
            "valid": (("time", "y", "x"), layers.stack(scenes, "valid", (), np.bool_)),
            "clear": (("time", "y", "x"), layers.stack(scenes, "clear", (), np.bool_)),
        },
        coords={**coordinates, "band": ("band", np.array(RGB, "U")), **_list_facts(scenes)},
        attrs=_describe_dataset(imagery),
    )
    decibels = bool(scenes) and imagery.is_decibels(scenes[-1].scene_id)
    made["pixels"].attrs = _describe(
        "pixel values, scale and offset applied", units="dB" if decibels else "1"
    )
    made["valid"].attrs = _describe("pixel holds data", flag_meanings="no_data data")
    made["clear"].attrs = _describe(
        "pixel holds data without cloud and shadow", flag_meanings="not_clear clear"
    )
    made["time"].attrs = {"standard_name": "time", "long_name": "acquisition time, UTC", "axis": "T"}
    made["time"].encoding = {
        "units": "microseconds since 1970-01-01",
        "dtype": "int64",
        "calendar": "standard",
    }
    return made


def _list_facts(scenes: Sequence[SceneRow]) -> dict[str, Any]:
    """Coordinates along time: when each scene was acquired, and where its pixels come from."""
    moments = [np.datetime64(one.acquired_at.replace(tzinfo=None), "us") for one in scenes]
    texts = {
        "scene_id": [one.scene_id for one in scenes],
        "scene_key": [one.scene_key for one in scenes],
        "state": [one.state for one in scenes],
        # netCDF has no lists; links contain no blanks
        "item_hrefs": [" ".join(one.item_hrefs) for one in scenes],
    }
    return {"time": ("time", np.array(moments, "datetime64[us]"))} | {
        name: ("time", np.array(values, "U")) for name, values in texts.items()
    }


def _describe(long_name: str, **more: Any) -> dict[str, Any]:
    return {"long_name": long_name, "grid_mapping": GRID_MAPPING, **more}


def _describe_dataset(imagery: WatchImagery) -> dict[str, Any]:
    facts = imagery.facts
    return {
        "Conventions": CONVENTIONS,
        "title": f"scenes of watch {imagery.watch}",
        "source": f"segwatch, {facts['source']}",
        "history": f"{facts['read_at']} read from the ledger",
        "watch": imagery.watch,
        "model": facts["model"] or "none",
        "accuracy": facts["accuracy"],
        "is_demonstration_model": str(facts["is_demonstration_model"]).lower(),
    }


class _LayerArrays:
    """Dask arrays of pixels and masks; the three of one window share the task that reads it."""

    def __init__(self, imagery: WatchImagery, grid: GeoBox, chunk: int) -> None:
        self._imagery = imagery
        self._grid = grid
        self._chunk = chunk
        self._tasks: dict[tuple[str, int, int], Any] = {}

    def check(self, scenes: int) -> None:
        """Refuse more chunks than Dask can plan.

        Raises
        ------
        BadRequest
            There are too many.
        """
        rows, cols = (len(list(_split(length, self._chunk))) for length in self._grid.shape)
        count = scenes * rows * cols
        if count > _MAX_CHUNKS:
            raise BadRequest(
                f"{count} chunks of {self._chunk} x {self._chunk} pixels are too many; choose a larger chunk, "
                "a bbox, or a shorter time"
            )

    def stack(self, scenes: Sequence[SceneRow], name: str, leading: tuple[int, ...], dtype: Any) -> Any:
        """Stack one layer of all scenes along time."""

        def make(scene: SceneRow, window: GeoBox, at: tuple[int, int]) -> Any:
            return _take(self._read(scene, window, at), name)

        return _stack(scenes, self._grid, self._chunk, leading, dtype, make)

    def _read(self, scene: SceneRow, window: GeoBox, at: tuple[int, int]) -> Any:
        from dask.delayed import delayed

        key = (scene.scene_id, *at)
        if key not in self._tasks:
            self._tasks[key] = delayed(_read_layers, pure=False)(self._imagery, scene.scene_id, window)
        return self._tasks[key]


def _make_prediction(
    imagery: WatchImagery, scenes: Sequence[SceneRow], targets: Sequence[str], grid: GeoBox, chunk: int
) -> Any:
    from dask.delayed import delayed

    def make(scene: SceneRow, window: GeoBox, at: tuple[int, int]) -> Any:
        return delayed(imagery.rasterize, pure=False)(scene, list(targets), window)

    return _stack(scenes, grid, chunk, (len(targets),), np.uint8, make)


def _stack(
    scenes: Sequence[SceneRow],
    grid: GeoBox,
    chunk: int,
    leading: tuple[int, ...],
    dtype: Any,
    make: Callable[[SceneRow, GeoBox, tuple[int, int]], Any],
) -> Any:
    """Stack a delayed array of each scene and window along time; (time, *leading, y, x)."""
    import dask.array

    da: Any = dask.array  # not typed
    if not scenes:
        return da.from_array(np.zeros((0, *leading, *grid.shape), dtype), chunks=(1, *leading, chunk, chunk))
    whole = []
    for scene in scenes:
        rows = []
        for rows_slice in _split(grid.height, chunk):
            parts = []
            for cols_slice in _split(grid.width, chunk):
                window = grid[rows_slice, cols_slice]
                delayed = make(scene, window, (rows_slice.start, cols_slice.start))
                parts.append(da.from_delayed(delayed, (*leading, *window.shape), dtype=dtype))
            rows.append(da.concatenate(parts, axis=-1))
        whole.append(da.concatenate(rows, axis=-2))
    return da.stack(whole)


def _split(length: int, chunk: int) -> Iterator[slice]:
    return (slice(start, min(start + chunk, length)) for start in range(0, length, chunk))


def _read_layers(imagery: WatchImagery, scene_id: str, window: GeoBox) -> _Layers:
    found: SceneWindow = imagery.read_window(scene_id, window)
    valid = found.valid.values
    return _Layers(np.where(valid, found.bands.values, np.float32("nan")), valid, found.clear.values)


def _take(layers: Any, name: str) -> Any:
    from dask.delayed import delayed

    return delayed(getattr, pure=False)(layers, name)
