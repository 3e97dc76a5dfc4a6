"""Simulate scenes: RGB images from above with the exact mask of each target.

A scene starts as a map of classes, is painted class by class in varied colours and textures, then lit, hazed and
sometimes covered by clouds. Everything derives from the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

SCENE_PX = 256
Target = Literal["water", "forest", "field", "burned", "building", "road", "bare"]
TARGETS: tuple[Target, ...] = get_args(Target)
"""Classes that instructions can ask for."""
Gsd = Literal[5, 10, 20]
GSD_M: tuple[Gsd, ...] = get_args(Gsd)
"""Ground sample distances that object sizes imitate, metres."""

_GRASS, _BARE = 0, 1
_CODE: dict[str, int] = {
    "water": 2, "forest": 3, "field": 4, "burned": 5, "building": 6, "road": 7, "bare": _BARE,
}  # fmt: skip
_SHAPED = ("water", "forest", "field", "burned", "building")
"""Classes of plain flat shapes."""
_DRAWN_AT_M: Gsd = 10
"""Ground sample distance at which landscapes are drawn pixel by pixel, metres."""
_LIKE_FIELDS = ("burned", "bare")  # ploughed soil can look burned, and harvested fields bare
_LEAST_SHARE = 0.002  # below this share of the image a target counts neither as present nor as absent

Rgb = tuple[float, float, float]
_Colours = tuple[tuple[Rgb, Rgb], ...]
Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

# darkest and brightest colour of each kind of ground cover; one is drawn per scene (per field for fields)
_PALETTE: dict[str, _Colours] = {
    "water": (
        ((20, 50, 90), (60, 100, 150)),
        ((8, 12, 25), (30, 40, 60)),
        ((15, 20, 22), (45, 55, 50)),
        ((35, 50, 45), (75, 95, 75)),
        ((70, 75, 55), (120, 115, 85)),
        ((60, 85, 80), (105, 140, 115)),
        ((30, 60, 80), (70, 105, 120)),
    ),
    "algae": (
        ((45, 70, 55), (80, 120, 85)),
        ((80, 100, 50), (125, 150, 75)),
    ),
    "forest": (
        ((15, 35, 18), (45, 75, 42)),
        ((20, 40, 38), (40, 62, 58)),
        ((30, 52, 26), (62, 88, 50)),
        ((38, 48, 55), (52, 68, 66)),
    ),
    "field": (
        ((70, 110, 50), (120, 160, 85)),
        ((150, 130, 85), (205, 185, 130)),
        ((120, 90, 65), (160, 125, 100)),
        ((30, 85, 50), (70, 125, 80)),
        ((165, 165, 90), (200, 195, 120)),
    ),
    "burned": (((28, 22, 20), (55, 45, 40)), ((55, 40, 32), (85, 62, 50))),
    "building": (
        ((150, 150, 150), (230, 230, 225)),
        ((140, 75, 60), (190, 110, 90)),
        ((95, 95, 105), (140, 140, 150)),
    ),
    "road": (
        ((75, 75, 78), (120, 120, 122)),
        ((165, 160, 150), (215, 210, 200)),
    ),
    "grass": (
        ((75, 100, 55), (115, 135, 85)),
        ((95, 110, 75), (140, 145, 105)),
        ((60, 95, 60), (95, 130, 85)),
        ((70, 80, 70), (110, 120, 105)),
    ),
    "bare": (
        ((125, 105, 80), (175, 150, 120)),
        ((150, 145, 135), (200, 195, 180)),
        ((105, 90, 75), (140, 120, 100)),
    ),
}


@dataclass(frozen=True)
class Scene:
    """One image and its masks."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    masks: dict[str, NDArray[np.bool_]]
    """(H, W) per target in the image; disjoint."""
    absent: tuple[str, ...]
    """Targets that the image certainly does not contain."""
    gsd_m: Gsd = _DRAWN_AT_M
    """Ground sample distance that object sizes imitate, metres."""


@dataclass(frozen=True)
class SceneSettings:
    """Classes and resolutions of scenes."""

    targets: tuple[Target, ...] = TARGETS
    """Classes that have masks; roads are drawn only if they are among them."""
    gsd_m: tuple[Gsd, ...] = GSD_M
    """Ground sample distances, equally likely, metres."""


ALL_CLASSES = SceneSettings()


def make_scene(seed: int, side: int = SCENE_PX, world: SceneSettings = ALL_CLASSES) -> Scene:
    """Make the scene of a seed: one in three has plain flat shapes, the others imitate landscapes.

    Twice the ground sample distance shows four times the area, with everything half as large.
    """
    rng = np.random.default_rng(seed)
    if rng.random() < 0.33:
        return make_plain_scene(seed, side, world)
    gsd_m = world.gsd_m[rng.integers(len(world.gsd_m)) if len(world.gsd_m) > 1 else 0]
    codes = _landscape(rng, side * gsd_m // _DRAWN_AT_M, world)
    image = _light(rng, _resample(_paint(rng, codes, texture=1.0), side))
    codes = _sample_codes(codes, side)
    clouded = rng.random() < 0.2
    if clouded:
        image, hidden = _clouds(rng, image)
        codes = np.where(hidden, _GRASS, codes).astype(np.uint8)
    return _scene(rng, image, codes, world, sure=not clouded, gsd_m=gsd_m)


def make_plain_scene(seed: int, side: int = SCENE_PX, world: SceneSettings = ALL_CLASSES) -> Scene:
    """Make a scene of flat-coloured shapes with mild noise on vegetated or bare land."""
    rng = np.random.default_rng((seed, 1))
    codes = np.full((side, side), rng.choice([_GRASS, _BARE]), dtype=np.uint8)
    for name in rng.permutation(np.array(_SHAPED))[: int(rng.integers(1, 4))]:
        for _ in range(int(rng.integers(1, 4))):
            codes[_draw_shape(rng, side)] = _CODE[str(name)]
    if rng.random() < 0.5:
        codes[_draw_shape(rng, side)] = _CODE["water"]
    image = _paint(rng, codes, texture=float(rng.uniform(0.0, 0.3)))
    if rng.random() < 0.3:
        image = _light(rng, image)
    return _scene(rng, image, codes, world, sure=True)


def _resample(image: Floats, side: int) -> Floats:
    """Resample (S, S, 3) -> (side, side, 3): means of whole pixels down, linear up."""
    if image.shape[0] == side:
        return image
    if image.shape[0] > side:
        times = image.shape[0] // side
        return np.asarray(image.reshape(side, times, side, times, 3).mean(axis=(1, 3)), dtype=np.float32)
    zoom = side / image.shape[0]
    grown = ndimage.zoom(image, (zoom, zoom, 1), order=1, mode="nearest", grid_mode=True)
    return np.asarray(grown, dtype=np.float32)


def _sample_codes(codes: Codes, side: int) -> Codes:
    """Sample (S, S) -> (side, side): the class in the middle of each pixel."""
    picks = ((np.arange(side) + 0.5) * codes.shape[0] / side).astype(np.int64)
    return codes[np.ix_(picks, picks)]


def _scene(
    rng: np.random.Generator,
    image: Floats,
    codes: Codes,
    world: SceneSettings,
    *,
    sure: bool,
    gsd_m: Gsd = _DRAWN_AT_M,
) -> Scene:
    noise = rng.normal(0.0, rng.uniform(0.5, 5.0), image.shape)
    pixels = np.clip(image + noise, 0, 255).round().astype(np.uint8)
    masks: dict[str, NDArray[np.bool_]] = {name: codes == _CODE[name] for name in world.targets}
    present = {name: mask for name, mask in masks.items() if mask.mean() >= _LEAST_SHARE}
    gone = [name for name, mask in masks.items() if sure and not mask.any()]
    if "field" in present:
        gone = [name for name in gone if name not in _LIKE_FIELDS]
    return Scene(pixels, present, tuple(gone), gsd_m)


def make_fractal(rng: np.random.Generator, side: int, slope: float) -> Floats:
    """Make (side, side) noise of mean 0 and deviation 1 whose amplitude falls with frequency ** slope."""
    frequency = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None])
    frequency[0, 0] = 1.0
    spectrum = fft.rfft2(rng.standard_normal((side, side))) / frequency**slope
    spectrum[0, 0] = 0.0
    field = fft.irfft2(spectrum, s=(side, side))
    return np.asarray(field / field.std(), dtype=np.float32)


def _landscape(rng: np.random.Generator, side: int, world: SceneSettings) -> Codes:
    codes = np.full((side, side), rng.choice([_GRASS, _GRASS, _BARE]), dtype=np.uint8)
    layers: list[tuple[float, Callable[[np.random.Generator, Codes], None]]] = [
        (0.45, _add_fields),
        (0.6, _add_forest),
        (0.25, _add_burn),
        (0.4, _add_buildings),
        (0.65, _add_water),
    ]
    if "road" in world.targets:
        layers.append((0.35, _add_roads))
    for chance, add in layers:
        if rng.random() < chance:
            add(rng, codes)
    return codes


def _blob(rng: np.random.Generator, side: int, low: float, high: float) -> NDArray[np.bool_]:
    field = make_fractal(rng, side, float(rng.uniform(1.4, 2.4)))
    return field > np.quantile(field, 1.0 - rng.uniform(low, high))


def _add_forest(rng: np.random.Generator, codes: Codes) -> None:
    high = 0.95 if rng.random() < 0.4 else 0.5
    codes[_blob(rng, codes.shape[0], 0.08, high)] = _CODE["forest"]


def _add_burn(rng: np.random.Generator, codes: Codes) -> None:
    codes[_blob(rng, codes.shape[0], 0.04, 0.25)] = _CODE["burned"]


def _add_water(rng: np.random.Generator, codes: Codes) -> None:
    side = codes.shape[0]
    if rng.random() < 0.65:
        high = 0.7 if rng.random() < 0.2 else 0.3
        codes[_blob(rng, side, 0.02, high)] = _CODE["water"]
    if rng.random() < 0.4:
        codes[_river(rng, side)] = _CODE["water"]


def _add_roads(rng: np.random.Generator, codes: Codes) -> None:
    """Add one to four straight roads across the scene, narrower than most rivers."""
    y, x = np.mgrid[: codes.shape[0], : codes.shape[0]].astype(np.float32)
    for _ in range(int(rng.integers(1, 5))):
        angle, half_width = rng.uniform(0, np.pi), rng.uniform(1.5, 4.5)
        at_y, at_x = rng.uniform(0.1, 0.9, 2) * codes.shape[0]
        away = np.abs((x - at_x) * np.sin(angle) - (y - at_y) * np.cos(angle))
        codes[away < half_width] = _CODE["road"]


def _river(rng: np.random.Generator, side: int) -> NDArray[np.bool_]:
    along = np.arange(side)
    bends = ndimage.gaussian_filter1d(rng.standard_normal(side), rng.uniform(10, 40))
    middle = (
        rng.uniform(0.2, 0.8) * side
        + bends / bends.std() * rng.uniform(5, 30)
        + along * rng.uniform(-0.4, 0.4)
    )
    width = rng.uniform(3, 14)
    river = np.abs(np.arange(side)[None] - middle[:, None]) < width
    return np.asarray(river.T if rng.random() < 0.5 else river, dtype=np.bool_)


def _add_fields(rng: np.random.Generator, codes: Codes) -> None:
    side = codes.shape[0]
    rows, columns = _rotate_coordinates(rng, side)
    pitch = rng.uniform(24, 80)
    inside = ((rows % pitch) > 3) & ((columns % (pitch * rng.uniform(0.6, 1.6))) > 3)
    codes[inside & _blob(rng, side, 0.3, 0.9)] = _CODE["field"]


def _add_buildings(rng: np.random.Generator, codes: Codes) -> None:
    side = codes.shape[0]
    town = _blob(rng, side, 0.05, 0.4)
    rows, columns = _rotate_coordinates(rng, side)
    pitch = rng.uniform(10, 26)
    inside = ((rows % pitch) > pitch * 0.4) & ((columns % pitch) > pitch * rng.uniform(0.3, 0.5))
    lot = (np.floor(rows / pitch) * 7919 + np.floor(columns / pitch) * 104729).astype(np.int64) % 97
    codes[inside & town & (lot < rng.integers(40, 97))] = _CODE["building"]


def _rotate_coordinates(rng: np.random.Generator, side: int) -> tuple[Floats, Floats]:
    """Return row and column coordinates rotated by a random angle, from 0 up."""
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along - along.min()).astype(np.float32), (across - across.min()).astype(np.float32)


def _draw_shape(rng: np.random.Generator, side: int) -> NDArray[np.bool_]:
    """Draw a rectangle, an ellipse or a convex polygon."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    centre_y, centre_x = rng.uniform(0.15, 0.85, 2) * side
    half_y, half_x = rng.uniform(0.05, 0.3, 2) * side
    kind = rng.integers(3)
    if kind == 0:
        box = (np.abs(y - centre_y) < half_y) & (np.abs(x - centre_x) < half_x)
        return np.asarray(box, dtype=np.bool_)
    if kind == 1:
        ellipse = ((y - centre_y) / half_y) ** 2 + ((x - centre_x) / half_x) ** 2 < 1
        return np.asarray(ellipse, dtype=np.bool_)
    inside = np.ones((side, side), dtype=np.bool_)
    for turn in rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))):
        inside &= (
            np.cos(turn) * (x - centre_x) + np.sin(turn) * (y - centre_y) < rng.uniform(0.6, 1.0) * half_x
        )
    inside &= (np.abs(y - centre_y) < 2 * half_y) & (np.abs(x - centre_x) < 2 * half_x)
    return inside


def _colour(rng: np.random.Generator, kind: str) -> NDArray[np.float64]:
    low, high = _PALETTE[kind][int(rng.integers(len(_PALETTE[kind])))]
    share = np.clip(rng.uniform() + rng.normal(0, 0.1, 3), 0, 1)
    return np.asarray(low + share * (np.asarray(high) - np.asarray(low)), dtype=np.float64)


_ROUGHNESS = {
    "water": 0.02,
    "forest": 0.22,
    "field": 0.06,
    "burned": 0.15,
    "building": 0.1,
    "road": 0.04,
    "grass": 0.1,
    "bare": 0.08,
}


def _paint(rng: np.random.Generator, codes: Codes, texture: float) -> Floats:
    side = codes.shape[0]
    image = np.zeros((side, side, 3), dtype=np.float32)
    broad, fine = make_fractal(rng, side, 1.5), make_fractal(rng, side, float(rng.uniform(0.1, 0.8)))
    for kind, code in {"grass": _GRASS, "bare": _BARE, **_CODE}.items():
        where = codes == code
        if not where.any():
            continue
        parts = [where] if kind not in {"field", "water", "building"} else _pieces(rng, where)
        for part in parts:
            rough = _ROUGHNESS[kind] * rng.uniform(0.4, 1.4) * texture
            shade = 1.0 + rough * (0.6 * broad + 0.8 * fine)
            # green lakes differ from meadows only by their smoothness, which plain shapes do not show
            green = kind == "water" and texture == 1.0 and rng.random() < 0.25
            image[part] = (_colour(rng, "algae" if green else kind) * np.clip(shade, 0.3, 2.0)[:, :, None])[
                part
            ]
    blur = rng.uniform(0.0, 1.2)
    return np.asarray(ndimage.gaussian_filter(image, (blur, blur, 0)), dtype=np.float32)


def _pieces(rng: np.random.Generator, where: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Distribute connected parts over up to four colours."""
    labels, count = ndimage.label(where)
    colours = int(rng.integers(1, 5))
    deal = rng.integers(colours, size=count + 1)
    return [where & (deal[labels] == colour) for colour in range(colours)]


def _light(rng: np.random.Generator, image: Floats) -> Floats:
    """Imitate sun, season, haze and sensor: gain per channel, gamma, and a veil that lifts the dark end."""
    gain = rng.uniform(0.65, 1.3) * rng.normal(1.0, 0.05, 3)
    gamma = rng.uniform(0.85, 1.2)
    lit = 255.0 * (np.clip(image * gain, 0, 255) / 255.0) ** gamma
    veil = max(rng.uniform(-0.25, 0.3), 0.0)
    haze = np.array([150, 160, 175]) * rng.uniform(0.6, 1.2)
    return np.asarray(lit * (1 - veil) + haze * veil, dtype=np.float32)


def _clouds(rng: np.random.Generator, image: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    side = image.shape[0]
    thick = make_fractal(rng, side, 1.8) - rng.uniform(0.8, 1.8)
    alpha = np.clip(thick * 1.5, 0, 0.97)[:, :, None]
    white = rng.uniform(190, 250)
    return np.asarray(image * (1 - alpha) + white * alpha, dtype=np.float32), alpha[:, :, 0] > 0.4
