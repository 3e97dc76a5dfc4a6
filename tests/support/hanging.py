"""Segmenters that never come back, for processes that may be lost."""

from __future__ import annotations

import ctypes
import time
from typing import Any

from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.segmenters import Prediction, Tiles
from tests.support.colour_segmenter import Well


class Hanging(Well):
    """Never comes back from a library's call, as a driver may; others of its process go on."""

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
        time.sleep(3600)
        raise AssertionError


class Frozen(Well):
    """Never comes back, and keeps the interpreter to itself: no other thread of its process does anything any more."""

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
        ctypes.PyDLL(None).sleep(3600)
        raise AssertionError


class FrozenOnce(Frozen):
    """As :class:`Frozen` in the first process of a home that comes here; well in the next ones."""

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
        try:
            (load_settings().home / "frozen-once").touch(exist_ok=False)
        except FileExistsError:
            return Well.segment(self, tiles, instructions)
        return super().segment(tiles, instructions)


class Slow(Well):
    """Takes its time."""

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
        time.sleep(2)
        return super().segment(tiles, instructions)
