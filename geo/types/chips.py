"""Chips: small grey pictures of fixed cells of the ground, by which scenes are registered to each other."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.types.belief import Shift

CELL_PX = 128
"""Side of a cell, pixels."""
MAX_CHIPS = 9
"""Maximum number of chips of one observation."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """A square of the ground: one cell of the lattice that a CRS and a pixel size define."""

    crs: str
    """Projected CRS of the pixels, such as ``EPSG:32633``."""
    pixel_m: float
    """Side of a pixel, metres."""
    row: int
    """Rows of cells between the CRS's origin and this one, downwards: negative north of the origin."""
    col: int
    """Columns of cells between the CRS's origin and this one, to the right."""


@dataclass(frozen=True, slots=True)
class Chip:
    """What one observation showed of a cell."""

    cell: Cell
    content: bytes
    """Grey pixels and clear mask, compressed: read them with :meth:`decode`."""

    @classmethod
    def encode(cls, cell: Cell, grey: NDArray[np.uint8], clear: NDArray[np.bool_]) -> Self:
        """Make a chip from the (128, 128) grey pixels of a cell and the mask of its clear ones.

        Pixels that are not clear are stored as 0.
        """
        pixels = np.where(clear, grey, 0).astype(np.uint8)
        return cls(cell, zlib.compress(pixels.tobytes() + np.packbits(clear).tobytes()))

    def decode(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the (128, 128) uint8 grey pixels and the (128, 128) mask of the clear ones.

        Raises
        ------
        ValueError
            The content is not that of a chip.
        """
        count = CELL_PX * CELL_PX
        size = count + count // 8
        inflater = zlib.decompressobj()
        try:
            raw = inflater.decompress(self.content, size + 1)
        except zlib.error as error:
            raise ValueError(f"the chip of {self.cell} is damaged: {error}") from error
        if len(raw) != size or not inflater.eof:
            raise ValueError(f"the chip of {self.cell} does not hold {CELL_PX} x {CELL_PX} pixels")
        values = np.frombuffer(raw, np.uint8)
        shape = (CELL_PX, CELL_PX)
        return values[:count].reshape(shape), np.unpackbits(values[count:]).reshape(shape).astype(bool)


@dataclass(frozen=True, slots=True)
class ReferenceChip:
    """The chip that later observations of a series are compared with: that of the first observation of the cell."""

    chip: Chip
    shift: Shift
    """By which its own observation was moved."""
