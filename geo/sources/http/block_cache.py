"""Limit the blocks of remote files that a scene keeps in memory (least recently used)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

#: Blocks kept of one file: what neighbouring rows of tiles share.
_MAX_FILE_BLOCKS = 1024
#: Blocks kept of all files of a scene, 96 MiB: a mosaic may have hundreds of files.
MAX_SCENE_BLOCKS = 3072


class BlockOwner(Protocol):
    """A file that keeps blocks."""

    blocks: OrderedDict[int, bytes]
    """Blocks by index, the most recently used last."""


class BlockCache:
    """Order in which the blocks of a scene's files were used. Not thread-safe."""

    def __init__(self, max_blocks: int = MAX_SCENE_BLOCKS) -> None:
        self._max_blocks = max_blocks
        self._order: OrderedDict[tuple[BlockOwner, int], None] = OrderedDict()

    def touch(self, file: BlockOwner, index: int) -> None:
        """Mark a block as used now."""
        self._order[file, index] = None
        self._order.move_to_end((file, index))

    def trim(self, file: BlockOwner) -> None:
        """Drop the least recently used blocks beyond the limits: of this file, then of the scene."""
        for index in list(file.blocks)[: max(0, len(file.blocks) - _MAX_FILE_BLOCKS)]:
            del file.blocks[index], self._order[file, index]
        while len(self._order) > self._max_blocks:
            (other, index), _ = self._order.popitem(last=False)
            del other.blocks[index]
