"""Instances that a segmenter tells apart become polygons of their own, however the scene is cut (invariants 4, 11)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from segwatch.geo.crs import to_lonlat
from segwatch.geo.detect import Observer
from segwatch.geo.grid import get_crs
from segwatch.geo.predictions import complete_instances, compute_logits, to_logits
from segwatch.geo.stitch import Stitcher
from segwatch.geo.tiling import make_tiles, split_columns
from segwatch.geo.types.segmentation import TilePrediction
from segwatch.geo.types.tracking import Detection

TILE, OVERLAP = 16, 6
HEIGHT, WIDTH = 40, 52
GRID = GeoBox((HEIGHT, WIDTH), Affine(10, 0, 500_000, 0, -10, 5_100_000), "EPSG:32633")
AREA = to_lonlat(
    shapely.box(500_000, 5_100_000 - 10 * HEIGHT, 500_000 + 10 * WIDTH, 5_100_000), get_crs(GRID)
)
IN_ONE = WIDTH + HEIGHT


def observe(instances: NDArray[np.int32], mask: NDArray[np.bool_], max_px: int = IN_ONE) -> list[Detection]:
    """Predict tile by tile, with numbers of the tile's own, and trace what no further tile reaches."""
    observer = Observer(AREA, GRID, label=lambda _: "field", min_polygon_m2=0)
    shuffle = np.random.default_rng(5)
    for columns in split_columns(WIDTH, TILE, OVERLAP, max_px):
        stitcher = Stitcher(HEIGHT, WIDTH, TILE, OVERLAP, columns)
        observer.begin_columns(columns.start, columns.stop)
        tiles = [one for one in make_tiles(HEIGHT, WIDTH, TILE, OVERLAP) if columns.has(one)]
        rows = sorted({one.row for one in tiles})
        for row, following in pairwise([*rows, HEIGHT]):
            for tile in tiles:
                if tile.row != row:
                    continue
                window = slice(tile.row, tile.row + tile.height), slice(tile.col, tile.col + tile.width)
                present = np.unique(instances[window])
                names = np.zeros(instances.max() + 1, np.int32)
                names[present] = 1 + shuffle.permutation(len(present))
                own = np.where(instances[window] > 0, names[instances[window]], 0)
                inside = np.where(mask[window], 4, -4).astype(np.float32)
                stitcher.add(tile, inside[None], own[None].astype(np.int32))
            stop = HEIGHT if following == HEIGHT else following
            taken = stitcher.take(stop)
            observer.add(taken, np.ones(taken.known.shape, bool))
    return observer.result()[1]


def _list_regions(instances: NDArray[np.int32]) -> list[float]:
    """Areas of the connected regions of each instance, in pixels."""
    sizes: list[float] = []
    for number in np.unique(instances[instances > 0]):
        labels, _ = ndimage.label(instances == number)
        sizes += np.bincount(labels.ravel())[1:].tolist()
    return sorted(sizes)


def _list_sizes(found: list[Detection]) -> list[float]:
    return sorted(round(one.area_m2 / 100, 1) for one in found)


def _split_by_seeds(seeds: list[tuple[int, int]]) -> NDArray[np.int32]:
    """Give each pixel the number of the nearest seed, from 1."""
    rows, cols = np.indices((HEIGHT, WIDTH))
    distances = np.stack([(rows - row) ** 2 + (cols - col) ** 2 for row, col in seeds])
    numbers: NDArray[np.int32] = (distances.argmin(axis=0) + 1).astype(np.int32)
    return numbers


places = st.tuples(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1))


@given(st.lists(places, min_size=1, max_size=8, unique=True))
@settings(max_examples=15, deadline=None)
def test_touching_instances_are_polygons_of_their_own_across_tiles(seeds: list[tuple[int, int]]) -> None:
    instances = _split_by_seeds(seeds)
    found = observe(instances, instances > 0)
    assert _list_sizes(found) == pytest.approx(_list_regions(instances), rel=0.01, abs=0.5)
    assert shapely.union_all([one.geometry for one in found]).difference(AREA).area == pytest.approx(
        0, abs=1e-12
    )
    assert sum(one.area_m2 for one in found) == pytest.approx(100 * instances.size, rel=0.01)


def test_instances_continue_across_column_spans() -> None:
    instances = _split_by_seeds([(4, 3), (5, 30), (20, 21), (33, 8), (30, 44)])
    found = observe(instances, instances > 0, 32)
    assert _list_sizes(found) == pytest.approx(_list_regions(instances), rel=0.01, abs=0.5)


def test_an_object_that_comes_back_to_earlier_tiles_is_one() -> None:
    """A bend: both ends lie in upper tiles that do not show how they are connected."""
    instances = np.zeros((HEIGHT, WIDTH), np.int32)
    instances[2:36, 2:5] = instances[33:36, 2:50] = instances[2:36, 47:50] = 1
    (one,) = observe(instances, instances > 0)
    assert one.area_m2 == pytest.approx(100 * (instances > 0).sum(), rel=0.01)


def test_what_no_instance_claims_belongs_to_the_one_beside_it() -> None:
    instances = np.zeros((HEIGHT, WIDTH), np.int32)
    instances[5:20, 5:15], instances[5:20, 15:30] = 1, 2
    mask = ndimage.binary_dilation(instances > 0, iterations=1)
    mask[30:35, 5:40] = True  # land without objects
    found = observe(instances, mask)
    assert len(found) == 3
    assert sum(one.area_m2 for one in found) == pytest.approx(100 * mask.sum(), rel=0.01)
    completed = complete_instances(instances, mask)
    assert (completed[4:21, 4:15] == mask[4:21, 4:15]).all()
    assert not completed[30:35].any(), "another region has no instance"
    assert not completed[~mask].any()


def test_presence_and_scores_cap_a_mask() -> None:
    mask = np.array([[[4.0, -4.0]], [[4.0, -4.0]]], np.float32)
    sure = compute_logits(TilePrediction(mask))
    assert np.array_equal(sure, mask)
    capped = compute_logits(TilePrediction(mask, scores=(0.7, 0.3), presence=(0.6, 0.9)))
    chances = 1 / (1 + np.exp(-capped))
    assert chances[:, 0, 0] == pytest.approx([0.6, 0.5], abs=1e-3)
    assert (capped[:, 0, 0] > 0).all(), "a low score makes it less sure, not empty"
    vetoed = compute_logits(TilePrediction(mask, presence=(0.4, 0.0)))
    assert (vetoed <= 0).all()
    assert to_logits(np.array([0.0, 0.5, 1.0], np.float32)) == pytest.approx([-9.2, 0, 9.2], abs=0.1)


def test_a_prediction_of_other_types_is_refused() -> None:
    masks = np.zeros((2, 4, 4), np.float32)
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"mask_logits": masks.tolist()}, "mask_logits is of type list: give a NumPy array"),
        ({"mask_logits": None}, "mask_logits is of type NoneType"),
        ({"mask_logits": masks, "instances": masks.tolist()}, "instances is of type list"),
        ({"mask_logits": masks, "scores": 0.5}, "scores is 0.5: give a tuple of numbers, one for each mask"),
        ({"mask_logits": masks, "presence": "ab"}, "presence is 'ab': give a tuple of numbers"),
    )
    for parts, reason in wrong:
        with pytest.raises(TypeError, match=reason):
            TilePrediction(**parts)
    TilePrediction(masks, scores=np.array([0.1, 0.2], np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"scores": (0.5,)}, "1 scores do not fit 2 masks"),
        ({"presence": (0.5, 1.5)}, "not within 0..1"),
        ({"instances": np.zeros((2, 3, 3), np.int32)}, "do not fit masks"),
    ],
)
def test_a_prediction_whose_parts_do_not_fit_is_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TilePrediction(np.zeros((2, 4, 4), np.float32), **given)  # type: ignore[arg-type]
