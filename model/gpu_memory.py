"""Plan how many tiles and instructions fit into memory at once, and recover when they do not.

Sizes are estimated from the configuration. The estimate leaves out fragmentation and what libraries allocate, so a
batch may still not fit; it is then halved, and results so far are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

_GIB = 2**30
#: Working memory on a CPU; larger batches are no faster there.
DEFAULT_CPU_BYTES = 2 * _GIB
_SHARE_OF_FREE = 0.8
_MAX_TILES, _MAX_ROWS = 64, 256


@dataclass(frozen=True)
class MemorySizes:
    """Peak bytes that one more item takes."""

    tile: int
    """A tile being encoded."""
    row: int
    """One instruction on one tile being predicted, masks included."""


@dataclass(frozen=True)
class BatchPlan:
    """Batch sizes."""

    tiles: int
    """Tiles encoded at once."""
    rows: int
    """Instructions on tiles: tiles times instructions."""


def estimate_sizes(config: SegEarthConfig, dtype: torch.dtype, instruction_tokens: int = 64) -> MemorySizes:
    """Estimate peak bytes for instructions of up to ``instruction_tokens`` tokens."""
    item, full = dtype.itemsize, 4
    phi, siglip, swin, mask = config.phi, config.siglip, config.swin, config.mask
    prefix = config.num_image_tokens + 160
    fine = (config.image_size // 4) ** 2
    levels = fine // 4 + fine // 16 + fine // 64
    kept = phi.num_layers * 2 * prefix * phi.hidden_size * item + (fine + levels) * mask.width * full
    # tokens of the first stage: block input, normalised input, q, k, v, four widths of the MLP; scores within
    # windows
    encoder_peak = fine * full * (9 * swin.embed_dim + 2 * swin.num_heads[0] * swin.window_size**2)
    if config.mask_encoder == "lite0":
        # 96 channels at stride 2 before and after the first strided block, padded once more
        encoder_peak = 4 * fine * full * 3 * 96
    # what every head reads at 4 points of 3 levels, three times, plus the layer's own and its four input maps
    pixel_peak = full * (levels * mask.width * (3 * 12 + 10) + 2 * fine * config.mask_channels[0])
    language_peak = prefix * item * (3 * phi.intermediate_size + 6 * phi.hidden_size)
    vision_peak = config.num_image_tokens * item * (3 * siglip.intermediate_size + 8 * siglip.hidden_size)
    tile = kept + max(encoder_peak, pixel_peak, language_peak, vision_peak)
    columns = instruction_tokens + config.max_new_tokens
    own = phi.num_layers * 2 * columns * phi.hidden_size * item
    asking = instruction_tokens * (
        phi.num_heads * (prefix + columns) * (2 * full + item) + 3 * phi.intermediate_size * item
    )
    # a single instruction on its tile: keys and values of all levels, and the copies each attention makes
    memory = full * (2 * levels + 3 * fine // 4) * mask.width
    masks = full * ((mask.decoder_layers + 3) * fine + 2 * mask.num_heads * (fine // 4))
    at_tile_size = 3 * config.image_size**2 * full
    return MemorySizes(tile=tile, row=max(own + asking, memory + max(masks, at_tile_size)))


def plan_batches(
    config: SegEarthConfig, dtype: torch.dtype, free: int, instruction_tokens: int = 64
) -> BatchPlan:
    """Plan batches of SegEarth-R2; see :func:`divide_memory`."""
    return divide_memory(estimate_sizes(config, dtype, instruction_tokens), free)


def divide_memory(each: MemorySizes, free: int) -> BatchPlan:
    """Give half of the free bytes to tiles and half to instructions on them; at least one of each."""
    return BatchPlan(
        tiles=min(max(free // 2 // each.tile, 1), _MAX_TILES),
        rows=min(max(free // 2 // each.row, 1), _MAX_ROWS),
    )


def measure_free_bytes(device: torch.device, limit_gib: float | None) -> int:
    """Measure the bytes usable beside the weights; on CUDA also limit what the process may ever allocate.

    Parameters
    ----------
    device
        Where the model is, weights loaded.
    limit_gib
        Maximum memory of the process there, GiB, weights included on CUDA. None = all that is free on CUDA, 2
        GiB of working memory on a CPU.

    Raises
    ------
    InputError
        The limit leaves no room beside the weights.
    """
    if device.type != "cuda":
        return DEFAULT_CPU_BYTES if limit_gib is None else int(limit_gib * _GIB)
    free, total = torch.cuda.mem_get_info(device)
    if limit_gib is not None:
        used = torch.cuda.memory_reserved(device)
        if limit_gib * _GIB <= used:
            raise InputError(
                f"memory limit {limit_gib} GiB is less than the {used / _GIB:.1f} GiB the weights take; raise it"
            )
        torch.cuda.set_per_process_memory_fraction(min(limit_gib * _GIB / total, 1.0), device)
        free = min(free, int(limit_gib * _GIB) - used)
    return int(free * _SHARE_OF_FREE)


class Batcher:
    """Process items in batches; a batch that does not fit into memory is halved, and later ones stay small."""

    def __init__(self, size: int) -> None:
        self.size = size
        """Maximum number of items in a batch."""

    def run_grid(self, rows: int, columns: int, max_cells: int, work: Callable[[range, range], None]) -> None:
        """Call ``work`` on blocks of a grid whose cells are the items, row by row.

        A block is whole rows if they fit, else part of one row; the parts of a row are about equally long.

        Parameters
        ----------
        rows, columns
            Size of the grid, each at least 1.
        max_cells
            Maximum cells in a block, however many would fit.
        work
            Called with the rows and columns of a block.

        Raises
        ------
        torch.OutOfMemoryError
            A single cell does not fit.
        """
        row = column = 0
        while row < rows:
            fit = max(min(self.size, max_cells), 1)
            if column == 0 and fit >= columns:
                some, part = range(row, min(row + fit // columns, rows)), range(columns)
            else:
                left = columns - column
                parts = -(-left // fit)
                some, part = range(row, row + 1), range(column, column + -(-left // parts))
            if self._try(len(some) * len(part), partial(work, some, part)):
                row, column = (some.stop, 0) if part.stop == columns else (row, part.stop)

    def run(self, items: Sequence[T], work: Callable[[Sequence[T]], R]) -> Iterator[R]:
        """Call ``work`` on consecutive batches of items, in order, and yield its results.

        Raises
        ------
        torch.OutOfMemoryError
            A single item does not fit.
        """
        begin = 0
        while begin < len(items):
            batch, results = items[begin : begin + self.size], list[R]()

            def keep(batch: Sequence[T] = batch, results: list[R] = results) -> None:
                results.append(work(batch))

            if self._try(len(batch), keep):
                begin += len(batch)
                yield results.pop()

    def _try(self, count: int, work: Callable[[], None]) -> bool:
        """Return False if the work did not fit into memory; the batch size is then half of what was tried."""
        try:
            work()
        except torch.OutOfMemoryError:
            if count == 1:
                raise
        else:
            return True
        # the failed batch's memory is only freed here, after its exception is gone
        self.size = (count + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False
