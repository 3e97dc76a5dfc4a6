"""How many tiles and questions fit into memory at once, and what to do when they do not.

Sizes come from arithmetic over the configuration. It leaves out fragmentation and what libraries allocate, so
a batch may still not fit: then it is halved, and nothing that was answered before is lost.
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
#: Working memory on a CPU, where more at once computes no faster.
CPU_BYTES = 2 * _GIB
_SHARE_OF_FREE = 0.8
_MOST_TILES, _MOST_ROWS = 64, 256


@dataclass(frozen=True)
class Sizes:
    """Bytes that one more of each takes at the worst moment."""

    tile: int
    """A tile being encoded."""
    row: int
    """A question on a tile being answered, its masks included."""


@dataclass(frozen=True)
class Plan:
    """What is worked on at once."""

    tiles: int
    rows: int
    """Questions on tiles: tiles times instructions."""


def sizes(config: SegEarthConfig, dtype: torch.dtype, question_tokens: int = 64) -> Sizes:
    """Bytes by arithmetic, for questions of up to ``question_tokens``."""
    item, full = dtype.itemsize, 4
    phi, siglip, swin, mask = config.phi, config.siglip, config.swin, config.mask
    prefix = config.num_image_tokens + 160
    fine = (config.image_size // 4) ** 2
    levels = fine // 4 + fine // 16 + fine // 64
    kept = phi.num_layers * 2 * prefix * phi.hidden_size * item + (fine + levels) * mask.width * full
    # tokens of the first stage: block input, normed, q, k, v, MLP's four widths; scores within windows
    encoder_peak = fine * full * (9 * swin.embed_dim + 2 * swin.num_heads[0] * swin.window_size**2)
    if config.mask_encoder == "lite0":
        # 96 channels at stride 2 before and after the first block that strides, padded once more
        encoder_peak = 4 * fine * full * 3 * 96
    # what every head reads at 4 points of 3 levels, thrice, beside the layer's own and the four maps it started from
    pixel_peak = full * (levels * mask.width * (3 * 12 + 10) + 2 * fine * config.mask_channels[0])
    language_peak = prefix * item * (3 * phi.intermediate_size + 6 * phi.hidden_size)
    vision_peak = config.num_image_tokens * item * (3 * siglip.intermediate_size + 8 * siglip.hidden_size)
    tile = kept + max(encoder_peak, pixel_peak, language_peak, vision_peak)
    columns = question_tokens + config.max_new_tokens
    own = phi.num_layers * 2 * columns * phi.hidden_size * item
    asking = question_tokens * (
        phi.num_heads * (prefix + columns) * (2 * full + item) + 3 * phi.intermediate_size * item
    )
    # of a question that is alone on its tile: keys and values of all levels, and what each attention copies
    memory = full * (2 * levels + 3 * fine // 4) * mask.width
    masks = full * ((mask.decoder_layers + 3) * fine + 2 * mask.num_heads * (fine // 4))
    at_tile_size = 3 * config.image_size**2 * full
    return Sizes(tile=tile, row=max(own + asking, memory + max(masks, at_tile_size)))


def plan(config: SegEarthConfig, dtype: torch.dtype, free: int, question_tokens: int = 64) -> Plan:
    """Half of the free bytes for tiles, half for questions on them; at least one of each."""
    each = sizes(config, dtype, question_tokens)
    return Plan(
        tiles=min(max(free // 2 // each.tile, 1), _MOST_TILES),
        rows=min(max(free // 2 // each.row, 1), _MOST_ROWS),
    )


def free_bytes(device: torch.device, limit_gib: float | None) -> int:
    """Bytes that may be used beside the weights, and on CUDA a bound on what may ever be allocated.

    Args:
        device: where the model is, weights loaded.
        limit_gib: the most that the process may use there, weights included on CUDA; None is all that is
            free on CUDA, 2 GiB of working memory on a CPU.

    Raises:
        InputError: if the limit does not leave room beside the weights.
    """
    if device.type != "cuda":
        return CPU_BYTES if limit_gib is None else int(limit_gib * _GIB)
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
    """Works through items in batches; one that does not fit is halved, and later ones stay small."""

    def __init__(self, size: int) -> None:
        self.size = size
        """Items at once."""

    def run_grid(self, rows: int, columns: int, most: int, work: Callable[[range, range], None]) -> None:
        """``work`` on blocks of a grid whose cells are the items, in order of rows, then of columns.

        A block is whole rows where they fit, else a part of one; parts of a row are about equally long.

        Args:
            rows: of the grid, at least 1.
            columns: of the grid, at least 1.
            most: cells at once, however many would fit.
            work: given rows and columns.

        Raises:
            torch.OutOfMemoryError: if a single cell does not fit.
        """
        row = column = 0
        while row < rows:
            fit = max(min(self.size, most), 1)
            if column == 0 and fit >= columns:
                some, part = range(row, min(row + fit // columns, rows)), range(columns)
            else:
                left = columns - column
                parts = -(-left // fit)
                some, part = range(row, row + 1), range(column, column + -(-left // parts))
            if self._tried(len(some) * len(part), partial(work, some, part)):
                row, column = (some.stop, 0) if part.stop == columns else (row, part.stop)

    def run(self, items: Sequence[T], work: Callable[[Sequence[T]], R]) -> Iterator[R]:
        """``work`` on consecutive batches of items, in order.

        Raises:
            torch.OutOfMemoryError: if a single item does not fit.
        """
        begin = 0
        while begin < len(items):
            batch, results = items[begin : begin + self.size], list[R]()

            def keep(batch: Sequence[T] = batch, results: list[R] = results) -> None:
                results.append(work(batch))

            if self._tried(len(batch), keep):
                begin += len(batch)
                yield results.pop()

    def _tried(self, count: int, work: Callable[[], None]) -> bool:
        """False when it did not fit; the size is then half of what was tried."""
        try:
            work()
        except torch.OutOfMemoryError:
            if count == 1:
                raise
        else:
            return True
        # the failed batch's memory is free only here, after its exception is gone
        self.size = (count + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False
