"""Labelled imagery of seven open data sets, split by place.

Each reader converts a data set's layout to :class:`LabelledPicture`: an RGB picture rendered as segwatch renders it,
and for each target a map of present, absent or unknown. The model card lists sources, licences and caveats.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageDraw import Draw

from segwatch.model.errors import DatasetError
from segwatch.model.train import archive
from segwatch.model.train.labelled_sample import ABSENT, PRESENT, UNKNOWN, LabelledPicture, Labels, Rgb

PlacePart = Literal["train", "calibrate", "judge"]
"""Use of a place: training, calibrating the presence head, or evaluation. Each place has only one."""

_ONE_IN_JUDGES = 5
_ONE_IN_CALIBRATES = 8  # of the places that are not for evaluation
#: Places assigned by name: these data sets have so few that a random split could be one-sided.
_NAMED: dict[str, PlacePart] = {
    "kampala": "judge",
    "massachusetts_22978945_15": "judge",
    "bakerlake_nb/nb_2of2": "judge",
    "philippines": "calibrate",
    "zanzibar": "train",
    "banepa": "train",
    "bakerlake_nb/nb_1of2": "train",
    "quebec_tile1": "train",
    "sn7_L15-0331E-1257N": "train",
}
_LEAST_BURN_CONTRAST = 0.2
_WHITE_REFLECTANCE = 3000.0  # reflectance 0.3 x 10 000
_WORLDCOVER = {"forest": (10,), "field": (40,), "bare": (60,)}
#: Classes of ESA WorldCover too close to a target to count as its absence.
_UNSURE = {"forest": (20, 90, 95), "field": (30, 90), "bare": (20, 30, 100)}
_EUROSAT: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "Forest": ("forest", ("building", "burned", "field", "water", "bare", "road")),
    "SeaLake": ("water", ("building", "burned", "field", "forest", "bare", "road")),
    "AnnualCrop": ("field", ("water", "burned", "forest")),
    "Pasture": (None, ("building", "burned", "water", "bare")),
    "Residential": (None, ("water", "burned")),
    "Industrial": (None, ("water", "burned", "forest")),
}


def load_part(root: Path, part: PlacePart) -> list[LabelledPicture]:
    """Load the samples of one part of the places, see :func:`load_all`."""
    return [sample for sample in load_all(root) if get_part(sample.place) == part]


def load_all(root: Path) -> Iterator[LabelledPicture]:
    """Load the samples of all data sets below a folder, or of an archive of them.

    Raises
    ------
    DatasetError
        A file is missing or has another format; the message gives its path.
    """
    if root.is_file():
        yield from archive.read_archive(root)
        return
    for name in _READERS:
        if not (root / name).is_dir():
            raise DatasetError(
                f"{root / name} is missing; give the folder that holds {', '.join(_READERS)}, or a packed archive"
            )
    for name, read in _READERS.items():
        yield from read(root / name)


def get_part(place: str) -> PlacePart:
    """Return the use of a place, from the digest of its name; for data sets with few places from the name itself."""
    if place in _NAMED:
        return _NAMED[place]
    digest = hashlib.sha256(place.encode()).digest()
    if digest[0] % _ONE_IN_JUDGES == 0:
        return "judge"
    return "calibrate" if digest[2] % _ONE_IN_CALIBRATES == 0 else "train"


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def _forest(folder: Path) -> Iterator[LabelledPicture]:
    for row in _rows(folder):
        rgb = _stretch(_read_bands(folder / row["image"])[:3])
        mask = _read_band(folder / row["label"])[: rgb.shape[0], : rgb.shape[1]]
        rgb = rgb[: mask.shape[0], : mask.shape[1]]
        labels = _make_labels(mask, present=mask == 1, absent=mask == 2)
        yield LabelledPicture("amazon-forest", row["place"], 10.0, rgb, {"forest": labels})


def _buildings_mixed(folder: Path) -> Iterator[LabelledPicture]:
    for row in _rows(folder):
        bands = _read_bands(folder / row["image"])
        rgb = _to_bytes(bands[:3]) if bands.dtype == np.uint8 else _stretch(bands[:3])
        mask = _read_band(folder / row["label"])
        classes = {"building": 4, "forest": 1, "water": 2, "road": 3}
        if row["place"] != "bakerlake_nb":
            classes = {"building": 1}
        known = mask != 255
        labels = {
            name: _make_labels(mask, present=mask == code, absent=known & (mask != code))
            for name, code in classes.items()
        }
        gsd_m = float(re.findall(r"[\d.]+(?=m)", row["note"])[0])
        place = row["place"]
        if place == "bakerlake_nb":
            # two halves of one town, the only roads and waters at this resolution
            place = f"{place}/{Path(row['image']).stem}"
        yield LabelledPicture("buildings-mixed", place, gsd_m, rgb, labels, ("burned",))


def _buildings_oam(folder: Path) -> Iterator[LabelledPicture]:
    for row in _rows(folder):
        rgb = _to_bytes(_read_bands(folder / row["image"])[:3])
        mask = _read_band(folder / row["label"])
        labels = {"building": _make_labels(mask, present=mask != 0, absent=mask == 0)}
        gsd_m = 0.3 if row["place"] == "banepa" else 0.15
        yield LabelledPicture("buildings-oam", row["place"], gsd_m, rgb, labels, ("burned",))


def _burned(folder: Path) -> Iterator[LabelledPicture]:
    for row in _rows(folder):
        mask = _read_band(folder / row["label"])
        contrast = float(row["contrast"].partition("=")[2] or 0)
        after = _render(folder / row["image"], row["note"])
        if contrast >= _LEAST_BURN_CONTRAST:
            labels = {"burned": _make_labels(mask, present=mask == 1, absent=mask == 0)}
            yield LabelledPicture("burned-s2", row["place"], 20.0, after, labels, ("building",))
        before = folder / row["image"].replace("post_fire", "pre_fire")
        if before.exists():
            yield LabelledPicture(
                "burned-s2", row["place"], 20.0, _render(before, row["note"]), {}, ("burned",)
            )


def _render(path: Path, note: str) -> Rgb:
    bands = _read_bands(path)
    if "B2,B3,B4" in note:
        reflectance = bands[[2, 1, 0]].astype(np.float32)
        return _to_bytes(np.clip(reflectance / _WHITE_REFLECTANCE * 255.0, 0, 255).round())
    return _to_bytes(bands[:3])


def _eurosat(folder: Path) -> Iterator[LabelledPicture]:
    for kind, (present, absent) in _EUROSAT.items():
        for file in sorted((folder / kind).glob("*.jpg")):
            rgb = np.asarray(Image.open(file).convert("RGB"))
            labels = {present: np.ones(rgb.shape[:2], np.int8)} if present else {}
            yield LabelledPicture(f"eurosat-{kind}", file.stem, 10.0, rgb, labels, absent)


def _fields(folder: Path) -> Iterator[LabelledPicture]:
    notes = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    shapes = {Path(one["filename"]).name: one["regions"] for one in notes.values()}
    for row in _rows(folder):
        rgb = np.asarray(Image.open(folder / row["image"]).convert("RGB"))
        canvas = Image.new("L", (rgb.shape[1], rgb.shape[0]))
        for region in _regions(shapes[Path(row["image"]).name]):
            Draw(canvas).polygon(region, fill=1)
        labels = {"field": np.asarray(canvas).astype(np.int8)}
        yield LabelledPicture("fields-naip", row["place"], 1.5, rgb, labels, ("burned",))


def _regions(found: Any) -> Iterator[list[tuple[float, float]]]:
    """Yield the polygons of a picture; the annotator wrote some as a list and some as a mapping."""
    for region in found.values() if isinstance(found, dict) else found:
        shape = region["shape_attributes"]
        if shape["name"] == "polygon" and len(shape["all_points_x"]) > 2:
            yield list(zip(shape["all_points_x"], shape["all_points_y"], strict=True))


def _floods(folder: Path) -> Iterator[LabelledPicture]:
    for row in _rows(folder):
        bands = _read_bands(folder / row["image"]).astype(np.float32)
        drawn = _read_band(folder / row["label"]) == 1
        wet = (_normalised_difference(bands[2], bands[4]) > 0) | (
            _normalised_difference(bands[2], bands[5]) > 0
        )
        cover = bands[10].astype(int)
        labels = {"water": _make_labels(cover, present=drawn & wet, absent=~drawn)}
        for target, classes in _WORLDCOVER.items():
            there, unsure = np.isin(cover, classes), np.isin(cover, _UNSURE[target])
            # the yearly map does not apply to flooded land
            labels[target] = _make_labels(cover, present=there & ~drawn, absent=~there & ~unsure)
        rgb = _to_bytes(np.clip(bands[[3, 2, 1]] / _WHITE_REFLECTANCE * 255.0, 0, 255).round())
        yield LabelledPicture("flood-water-s2", row["place"], 30.0, rgb, labels, ("burned",))


_READERS: dict[str, Callable[[Path], Iterator[LabelledPicture]]] = {
    "amazon-forest": _forest,
    "buildings-mixed": _buildings_mixed,
    "buildings-oam": _buildings_oam,
    "burned-s2": _burned,
    "eurosat-rgb": _eurosat,
    "fields-naip": _fields,
    "flood-water-s2": _floods,
}


def _read_bands(path: Path) -> NDArray[np.generic]:
    """Read (C, H, W)."""
    import rasterio  # here, because training from a packed archive needs no such package

    try:
        with rasterio.open(path) as file:
            return np.asarray(file.read())
    except rasterio.errors.RasterioIOError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _read_band(path: Path) -> NDArray[np.generic]:
    """Read (H, W)."""
    first: NDArray[np.generic] = _read_bands(path)[0]
    return first


def _to_bytes(bands: NDArray[np.generic]) -> Rgb:
    """Convert (3, H, W) values 0..255 -> (H, W, 3) uint8."""
    return np.ascontiguousarray(bands.transpose(1, 2, 0)).astype(np.uint8)


def _stretch(bands: NDArray[np.generic]) -> Rgb:
    """Stretch each band's 1st to 99th percentile to 0..255: (3, H, W) -> (H, W, 3)."""
    values = bands.astype(np.float32)
    low, high = np.percentile(values, [1, 99], axis=(1, 2), keepdims=True)
    return _to_bytes(np.clip((values - low) / np.maximum(high - low, 1e-6) * 255.0, 0, 255).round())


def _make_labels(
    like: NDArray[np.generic], *, present: NDArray[np.bool_], absent: NDArray[np.bool_]
) -> Labels:
    labels = np.full(like.shape, UNKNOWN)
    labels[absent] = ABSENT
    labels[present] = PRESENT
    return labels


def _normalised_difference(high: NDArray[np.float32], low: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((high - low) / np.maximum(np.abs(high + low), 1e-6), dtype=np.float32)
