"""Blend the logits of overlapping tiles into one raster, and follow instances from tile to tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.tiling import ColumnSpan, Tile, compute_weights

#: Logit of a target that a tile's prediction does not name: clearly outside, yet outvoted by a confident neighbour.
ABSENT = -10.0
#: Minimum common share of the smaller one of an instance and an earlier one, within a tile, to be the same object.
_SAME_INSTANCE = 0.5


@dataclass(frozen=True, slots=True)
class Stitched:
    """Blended logits of neighbouring rows of a grid."""

    logits: NDArray[np.float32]
    """(M, h, w), M targets named so far; > 0 is inside. ``ABSENT`` where no tile has a prediction."""
    known: NDArray[np.bool_]
    """(h, w); False where no tile has a prediction: unknown, not empty."""
    instances: NDArray[np.int32] | None = None
    """(M, h, w) number of the object that a pixel belongs to, the same in all rows; 0 = of no object. None = no tile
    has instances."""
    joined: tuple[dict[int, int], ...] = ()
    """For each target: numbers of rows before -> the object that they turned out to be a part of."""


class Stitcher:
    """Blends overlapping tiles as they come, and hands out rows that no further tile reaches.

    Tiles may come in any order as long as none reaches a row that was taken.

    Parameters
    ----------
    height, width
        Size of the whole grid.
    columns
        Span whose tiles are added and whose own columns are taken; None = all columns.
    """

    def __init__(
        self, height: int, width: int, tile_px: int, overlap_px: int, columns: ColumnSpan | None = None
    ) -> None:
        self._shape = (height, width)
        self._overlap = min(overlap_px, tile_px - 1)
        self._columns = columns or ColumnSpan(0, width, 0, width)
        self._top = 0
        # plain arrays: sums grow and shrink by rows with every tile, in place (ADR 0011)
        self._sums: list[NDArray[np.float32]] = []
        self._weight: NDArray[np.float32] = np.zeros((0, self._columns.width), np.float32)
        self._instances: dict[int, _InstanceMap] = {}
        """Target index -> its instances; only targets that have some."""

    def add(
        self, tile: Tile, logits: NDArray[np.float32], instances: NDArray[np.int32] | None = None
    ) -> None:
        """Blend in one tile's (M, height, width) logits; targets missing in it count as absent there.

        Parameters
        ----------
        instances
            (M, height, width) numbers of instances, from 1 for each target; 0 = none.

        Raises
        ------
        ValueError
            The logits do not have the tile's size, or rows of the tile were already taken.
        """
        if logits.ndim != 3 or logits.shape[1:] != (tile.height, tile.width):
            raise ValueError(
                f"logits of shape {logits.shape} do not fit a tile of {tile.height} x {tile.width} px"
            )
        if tile.row < self._top:
            raise ValueError(f"a tile from row {tile.row} on came after rows before {self._top} were taken")
        self._extend(tile.row + tile.height)
        rows = slice(tile.row - self._top, tile.row + tile.height - self._top)
        cols = slice(tile.col - self._columns.left, tile.col + tile.width - self._columns.left)
        weight = compute_weights(tile, *self._shape, self._overlap)
        while len(self._sums) < len(logits):
            # earlier tiles lack this target: it is absent there, with the weight they were blended with
            self._sums.append(self._weight * np.float32(ABSENT))
        for index, total in enumerate(self._sums):
            predicted = logits[index] if index < len(logits) else np.float32(ABSENT)
            total[rows, cols] += weight * predicted
        self._weight[rows, cols] += weight
        for index, numbers in enumerate(() if instances is None else instances):
            if index not in self._instances:
                self._instances[index] = _InstanceMap(self._weight.shape)
            self._instances[index].add(rows, cols, numbers, weight)

    def take(self, stop: int) -> Stitched:
        """Return the rows from where the last call stopped to before ``stop``, and release their memory."""
        self._extend(stop)
        count = stop - self._top
        weight = self._weight[:count, self._columns.own]
        known = weight > 0
        stacked = np.full((len(self._sums), *known.shape), ABSENT, np.float32)
        for logits, total in zip(stacked, self._sums, strict=True):
            np.divide(total[:count, self._columns.own], weight, out=logits, where=known)
        instances, joined = self._take_instances(stacked.shape, count)
        self._weight = self._weight[count:].copy()
        self._sums = [total[count:].copy() for total in self._sums]
        self._top = stop
        return Stitched(stacked, known, instances, joined)

    def _take_instances(
        self, shape: tuple[int, ...], count: int
    ) -> tuple[NDArray[np.int32] | None, tuple[dict[int, int], ...]]:
        if not self._instances:
            return None, ()
        numbers = np.zeros(shape, np.int32)
        joined: tuple[dict[int, int], ...] = tuple({} for _ in numbers)
        for index, one in self._instances.items():
            numbers[index] = one.take(count)[:, self._columns.own]
            joined[index].update(one.joined)
        return numbers, joined

    def _extend(self, stop: int) -> None:
        """Allocate rows up to ``stop``."""
        missing = stop - self._top - len(self._weight)
        if missing > 0:
            empty = np.zeros((missing, self._columns.width), np.float32)
            self._weight = np.concatenate([self._weight, empty])
            self._sums = [np.concatenate([total, empty]) for total in self._sums]
            for one in self._instances.values():
                one.extend(missing)


class _InstanceMap:
    """Instances of one target on the rows that are open: each tile's instances continue those of the tiles before.

    Where tiles overlap, a pixel keeps the instance of the tile that weighs most there, among those that have one. A
    tile may show that two earlier instances are parts of one object; they are joined unless a tile told them apart.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._numbers: NDArray[np.int32] = np.zeros(shape, np.int32)
        self._weight: NDArray[np.float32] = np.zeros(shape, np.float32)
        """Weight of the tile that gave a pixel its number."""
        self._tiles: dict[int, set[int]] = {}
        """Instance -> the tiles that show it, by their order."""
        self._next = 1
        self._added = 0
        self.joined: dict[int, int] = {}
        """Instance -> the one that it turned out to be a part of."""

    def add(self, rows: slice, cols: slice, numbers: NDArray[np.int32], weight: NDArray[np.float32]) -> None:
        """Add one tile's instances, 0 = none; ``weight`` is the tile's."""
        renamed = self._rename(numbers, self._numbers[rows, cols])
        held, best = self._numbers[rows, cols], self._weight[rows, cols]
        newer = (renamed > 0) & ((held == 0) | (weight > best))
        held[newer] = renamed[newer]
        best[newer] = weight[newer]

    def _rename(self, numbers: NDArray[np.int32], held: NDArray[np.int32]) -> NDArray[np.int32]:
        """Number a tile's instances as the objects that they continue, or anew."""
        found, compact = np.unique(numbers, return_inverse=True)
        compact = compact.reshape(numbers.shape)
        names: dict[int, int] = {}
        others: list[tuple[int, int]] = []
        for place, name in _match(compact, held):
            if found[place] == 0:
                continue
            if place in names:
                others.append((place, name))
            elif name not in names.values():
                names[place] = name
        for place, number in enumerate(found):
            if number and place not in names:
                names[place] = self._next
                self._next += 1
        for name in names.values():
            self._tiles.setdefault(name, set()).add(self._added)
        self._added += 1
        for place, name in others:
            if name in self._tiles and self._tiles[name].isdisjoint(self._tiles[names[place]]):
                self._join(name, names[place])
        lookup = np.array([names.get(place, 0) for place in range(len(found))], np.int32)
        renamed: NDArray[np.int32] = lookup[compact]
        return renamed

    def _join(self, part: int, whole: int) -> None:
        """Make an instance a part of another one."""
        self._numbers[self._numbers == part] = whole
        self._tiles[whole] |= self._tiles.pop(part)
        for name, known in self.joined.items():
            if known == part:
                self.joined[name] = whole
        self.joined[part] = whole

    def take(self, count: int) -> NDArray[np.int32]:
        """Return the first rows, and release them."""
        taken = self._numbers[:count]
        self._numbers, self._weight = self._numbers[count:].copy(), self._weight[count:].copy()
        return taken

    def extend(self, count: int) -> None:
        """Allocate rows."""
        width = self._numbers.shape[1]
        self._numbers = np.concatenate([self._numbers, np.zeros((count, width), np.int32)])
        self._weight = np.concatenate([self._weight, np.zeros((count, width), np.float32)])


def _match(compact: NDArray[np.intp], held: NDArray[np.int32]) -> list[tuple[int, int]]:
    """List the pairs of a tile's instance and an earlier one that are the same object, most common pixels first.

    They share at least half of the smaller one: of an object that reaches beyond the overlap of both tiles, only that
    part was held before.

    Parameters
    ----------
    compact
        (h, w) place of each pixel's instance among the tile's.
    held
        (h, w) earlier instances, 0 = none.
    """
    earlier, place = np.unique(held, return_inverse=True)
    columns = len(earlier)
    pairs = compact.ravel() * columns + place.ravel()
    table = np.bincount(pairs, minlength=(int(compact.max()) + 1) * columns).reshape(-1, columns)
    found = []
    for one, other in np.argwhere(table > 0):
        common = int(table[one, other])
        size = min(int(table[one].sum()), int(table[:, other].sum()))
        if earlier[other] and common >= _SAME_INSTANCE * size:
            found.append((-common, int(one), int(earlier[other])))
    return [(one, name) for _, one, name in sorted(found)]
