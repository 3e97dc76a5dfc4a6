"""Labelled tiles of one watch's ground, as files in a folder: what a model is adapted to and judged on.

A tile is an ``.npz`` file of ``rgb`` (S, S, 3) uint8 and ``labels`` (T, S, S) int8, one layer for each target in the
order of the instruction: 1 present, 0 absent, -1 unknown. ``tiles.json`` lists the files, each with the place
that it lies in.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from segwatch.model.errors import DatasetError
from segwatch.model.train.labelled_sample import UNKNOWN, Labels, Rgb

INDEX_FILE = "tiles.json"
#: Fewest places with labels: each part needs some of its own.
MIN_PLACES = 6
#: Share of a tile that must be labelled before a target without any pixel of it counts as absent there.
MIN_KNOWN_ABSENT = 0.9


class Part(StrEnum):
    """What the tiles of a place are used for."""

    LEARN = "learn"
    """Training."""
    STOP = "stop"
    """Choosing when to stop."""
    JUDGE = "judge"
    """Figures before and after."""


@dataclass(frozen=True)
class AdaptationTile:
    """One labelled tile."""

    name: str
    place: str
    """Square of ground that it lies in; all tiles of a place are in one part, whatever their scene."""
    part: Part
    rgb: Rgb
    """(S, S, 3)."""
    labels: Labels
    """(T, S, S): 1 present, 0 absent, -1 unknown."""

    def is_absent(self, target: int) -> bool:
        """Tell whether a target is labelled as absent and nowhere as present."""
        label = self.labels[target]
        return bool((label == 0).any()) and not bool((label > 0).any())


def write_tile(file: Path, rgb: Rgb, labels: Labels) -> None:
    """Write a tile, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.savez_compressed(stream, rgb=rgb, labels=labels)
    os.replace(partial, file)


def write_index(folder: Path, places: Mapping[str, str]) -> None:
    """Write the list of tiles: name of the file without its suffix -> place."""
    partial = folder / f"{INDEX_FILE}.partial"
    partial.write_text(json.dumps({"places": places}, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, folder / INDEX_FILE)


def load_tiles(folder: Path, seed: int) -> list[AdaptationTile]:
    """Load the tiles of a folder, split by places.

    Raises
    ------
    DatasetError
        The folder is unreadable, or its labels lie in too few places.
    """
    try:
        places = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["places"]
        arrays = {name: np.load(folder / f"{name}.npz", allow_pickle=False) for name in sorted(places)}
        tiles = {name: (one["rgb"], one["labels"]) for name, one in arrays.items()}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{folder}: the tiles cannot be read ({error}); collect them again") from error
    shown = {places[name] for name, (_, labels) in tiles.items() if (labels > 0).any()}
    parts = split_places(sorted(set(places.values())), shown, seed)
    return [
        AdaptationTile(name, places[name], parts[places[name]], rgb, labels)
        for name, (rgb, labels) in tiles.items()
    ]


def split_places(places: Sequence[str], shown: set[str], seed: int) -> dict[str, Part]:
    """Give a fifth of the places to stopping and a fifth to judging, alike of those that show a target and of others.

    The order is that of a hash, so the same places always get the same parts.

    Raises
    ------
    DatasetError
        There are too few places, or too few that show a target.
    """
    if len(places) < MIN_PLACES or len(shown) < len(Part):
        raise DatasetError(
            f"labels lie in {len(places)} places, {len(shown)} of them with a target; at least {MIN_PLACES} "
            f"and {len(Part)} are needed, as training, stopping and judging need ground of their own: review more "
            "objects in other places (segwatch review), or label an assessment (segwatch assess start)"
        )

    def order(names: Sequence[str]) -> list[str]:
        return sorted(names, key=lambda one: hashlib.sha256(f"{seed} {one}".encode()).digest())

    parts: dict[str, Part] = {}
    for group in (
        order([one for one in places if one in shown]),
        order([one for one in places if one not in shown]),
    ):
        held = max(1, round(len(group) / 5)) if len(group) >= len(Part) else 0
        for index, name in enumerate(group):
            parts[name] = Part.JUDGE if index < held else Part.STOP if index < 2 * held else Part.LEARN
    return parts


def count_known(tiles: Sequence[AdaptationTile]) -> int:
    """Count the labelled pixels of some tiles, over all targets."""
    return sum(int((one.labels != UNKNOWN).sum()) for one in tiles)
