"""The demo imagery with weak labels, split by place and date.

The labels come from data that the model does not get: the near-infrared band, or a land-use map. They are plausible,
not surveyed; see ``model/weights/tiny/MODEL_CARD.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segwatch.model.errors import InputError
from segwatch.model.train.scenes import Scene

Split = Literal["train", "held-out"]
Floats = NDArray[np.float32]

NAIP_DATES = {"2009-08-18": 110.0, "2010-06-29": 85.0, "2014-07-20": 50.0, "2017-08-27": 100.0}
"""Date -> near-infrared digital number below which the image shows water (the valley of its histogram)."""
HELD_OUT_NAIP = "2017-08-27"
SLOVENIA_DATES = ("2015-07-11", "2015-08-30", "2015-09-09")
"""The cloud-free dates."""
HELD_OUT_SLOVENIA = "2015-09-09"

_NAIP_LEAST_NDWI = -0.1
_NAIP_LEAST_PIXELS = 40
_CHESAPEAKE_WATER_NDWI = 0.4
_FOREST = 2
_REFLECTANCE_WHITE = 3000.0  # reflectance 0.3 x 10 000


@dataclass(frozen=True)
class DemoPicture:
    """One image, or the part of it in a split."""

    source: str
    """"naip", "chesapeake" or "slovenia"."""
    date: str
    """Acquisition date, or "" where it is not known."""
    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    masks: dict[str, NDArray[np.bool_]]
    """(H, W) per labelled target."""
    absent: tuple[str, ...]
    """Targets that are certainly absent."""
    least_side: int
    """Minimum side of a useful crop, pixels."""


def load_pictures(directory: Path, split: Split) -> list[DemoPicture]:
    """Load every picture of a split.

    Parameters
    ----------
    directory
        Holds ``naip-cottonwood/``, ``sentinel2-chesapeake/`` and ``sentinel2-slovenia/``.
    split
        "train" or "held-out"; they share no pixel of the same date.

    Raises
    ------
    InputError
        If a file is missing, by path.
    """
    return [*_naip(directory, split), *_chesapeake(directory, split), *_slovenia(directory, split)]


def reflectance_to_rgb(bands: Floats) -> NDArray[np.uint8]:
    """Render (3, H, W) reflectance x 10 000 -> (H, W, 3): 0..0.3 to 0..255, linear."""
    scaled = np.clip(bands / _REFLECTANCE_WHITE * 255.0, 0, 255).round()
    return np.ascontiguousarray(scaled.transpose(1, 2, 0)).astype(np.uint8)


def draw_crop(rng: np.random.Generator, picture: DemoPicture) -> Scene:
    """Draw a random part of a picture, rotated, mirrored and relit."""
    height, width = picture.rgb.shape[:2]
    largest = min(height, width)
    side = int(rng.integers(min(picture.least_side, largest), min(picture.least_side * 3, largest) + 1))
    wide = side if rng.random() < 0.7 else int(rng.integers(side // 2, min(width, side * 2) + 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(max(width - wide, 0) + 1))
    window = (slice(top, top + side), slice(left, left + wide))
    image = jitter_colours(rng, picture.rgb[window])
    masks = {name: mask[window] for name, mask in picture.masks.items()}
    present = {name: mask for name, mask in masks.items() if mask.mean() > 0.002}
    gone = tuple(name for name, mask in masks.items() if not mask.any())
    return turn_randomly(rng, Scene(image, present, (*picture.absent, *gone)))


def jitter_colours(rng: np.random.Generator, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Imitate another camera and sun by gain, gamma and colour mixing; one picture in four stays unchanged."""
    if rng.random() < 0.25:
        return rgb
    mixed = rgb @ (np.eye(3) + rng.normal(0.0, 0.06, (3, 3)))
    gain = rng.uniform(0.7, 1.45) * rng.normal(1.0, 0.1, 3).clip(0.75, 1.3)
    lit = np.clip(mixed * gain + rng.uniform(-12, 14), 0, 255) / 255.0
    return np.asarray((lit ** rng.uniform(0.85, 1.2) * 255.0).round(), dtype=np.uint8)


def turn_randomly(rng: np.random.Generator, scene: Scene) -> Scene:
    """Rotate a scene by a random multiple of 90 degrees and mirror it at random."""
    quarter, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def moved(array: NDArray[np.generic]) -> NDArray[np.generic]:
        turned = np.rot90(array, quarter)
        return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)

    masks = {name: moved(mask).astype(np.bool_) for name, mask in scene.masks.items()}
    return replace(scene, image=moved(scene.image).astype(np.uint8), masks=masks)


def _read(path: Path) -> Floats:
    if not path.exists():
        raise InputError(f"{path} is missing; give --data a folder laid out like demo/imagery")
    import rasterio  # here, because only the demo's imagery needs it

    with rasterio.open(path) as file:
        return np.asarray(file.read(), dtype=np.float32)


def _index(high: Floats, low: Floats) -> Floats:
    return np.asarray((high - low) / np.maximum(high + low, 1e-6), dtype=np.float32)


def _smooth(mask: NDArray[np.bool_], least_pixels: int) -> NDArray[np.bool_]:
    """Take the majority of each 5 x 5 neighbourhood and remove specks."""
    major = ndimage.uniform_filter(mask.astype(np.float32), 5) > 0.5
    labels, _ = ndimage.label(major)
    return np.asarray(major & (np.bincount(labels.ravel())[labels] >= least_pixels), dtype=np.bool_)


def _part(
    source: str,
    date: str,
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    target: str,
    where: tuple[slice, slice],
) -> DemoPicture:
    # "burned" is left out: it is absent everywhere here, and asking for it would teach to deny it always
    absent = ("water",) if source == "slovenia" else ()
    side = {"naip": 160, "chesapeake": 128, "slovenia": 32}[source]
    return DemoPicture(source, date, rgb[where], {target: mask[where]}, absent, side)


def _naip(directory: Path, split: Split) -> list[DemoPicture]:
    """Held out: all of 2017, and the eastern third at every date."""
    pictures = []
    for date, darkest in NAIP_DATES.items():
        bands = _read(directory / "naip-cottonwood" / f"{date}.tif")
        wet = (bands[3] < darkest) & (_index(bands[1], bands[3]) > _NAIP_LEAST_NDWI)
        mask = _smooth(wet, _NAIP_LEAST_PIXELS)
        rgb = np.ascontiguousarray(bands[:3].transpose(1, 2, 0)).astype(np.uint8)
        east = bands.shape[2] * 2 // 3
        west_part, east_part = (slice(None), slice(0, east)), (slice(None), slice(east, None))
        if split == "train" and date != HELD_OUT_NAIP:
            pictures.append(_part("naip", date, rgb, mask, "water", west_part))
        if split == "held-out":
            pictures.append(_part("naip", date, rgb, mask, "water", east_part))
            if date == HELD_OUT_NAIP:
                pictures.append(_part("naip", date, rgb, mask, "water", west_part))
    return pictures


def _chesapeake(directory: Path, split: Split) -> list[DemoPicture]:
    """Held out: the south-west quadrant."""
    bands = _read(directory / "sentinel2-chesapeake" / "s2_l1c_B04B03B02B08_1024.tif")
    mask = _smooth(_index(bands[1], bands[3]) > _CHESAPEAKE_WATER_NDWI, 60)
    rgb = reflectance_to_rgb(bands[:3])
    north, south, west, east = slice(0, 512), slice(512, None), slice(0, 512), slice(512, None)
    places = [(south, west)] if split == "held-out" else [(north, west), (north, east), (south, east)]
    return [_part("chesapeake", "", rgb, mask, "water", place) for place in places]


def _slovenia(directory: Path, split: Split) -> list[DemoPicture]:
    """Held out: the southern third at every date, and all of 2015-09-09."""
    folder = directory / "sentinel2-slovenia"
    mask = _read(folder / "land_use.tif")[0] == _FOREST
    pictures = []
    for date in SLOVENIA_DATES:
        bands = _read(folder / f"{date}.tif")
        rgb = reflectance_to_rgb(bands[:3])
        rows = slice(66, None) if split == "held-out" else slice(0, 66)
        if split == "held-out" or date != HELD_OUT_SLOVENIA:
            pictures.append(_part("slovenia", date, rgb, mask, "forest", (rows, slice(None))))
        if split == "held-out" and date == HELD_OUT_SLOVENIA:
            pictures.append(_part("slovenia", date, rgb, mask, "forest", (slice(0, 66), slice(None))))
    return pictures
