"""Augmentation that imitates other cameras, light and compression, and leaves labels unchanged."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Rgb = NDArray[np.uint8]
Floats = NDArray[np.float32]


def retouch(rng: np.random.Generator, rgb: Rgb) -> Rgb:
    """Change light, colour cast, haze, noise, compression and blur, each with its own probability.

    Parameters
    ----------
    rng
        Random source.
    rgb
        (H, W, 3).

    Returns
    -------
    Rgb
        (H, W, 3), pixels in place.
    """
    values = rgb.astype(np.float32)
    for chance, change in _BEFORE_THE_SENSOR:
        if rng.random() < chance:
            values = change(rng, values)
    taken = np.clip(values, 0, 255).round().astype(np.uint8)
    return _compress(rng, taken) if rng.random() < 0.2 else taken


def _relight(rng: np.random.Generator, values: Floats) -> Floats:
    """Apply colour mixing, gain, cast, offset and gamma."""
    gain = rng.uniform(0.65, 1.45) * rng.normal(1.0, 0.08, 3).clip(0.75, 1.3)
    mix = ((np.eye(3) + rng.normal(0.0, 0.05, (3, 3))) * gain).astype(np.float32)
    lit = np.clip(values @ mix + np.float32(rng.uniform(-15, 18)), 0, 255) / np.float32(255)
    return np.asarray(lit ** np.float32(rng.uniform(0.75, 1.3)) * np.float32(255), dtype=np.float32)


def _add_haze(rng: np.random.Generator, values: Floats) -> Floats:
    veil = rng.uniform(0.05, 0.35)
    return np.asarray(values * (1.0 - veil) + veil * rng.uniform(170, 240), dtype=np.float32)


def _blur(rng: np.random.Generator, values: Floats) -> Floats:
    sigma = rng.uniform(0.4, 1.3)
    return np.asarray(ndimage.gaussian_filter(values, (sigma, sigma, 0)), dtype=np.float32)


def _add_noise(rng: np.random.Generator, values: Floats) -> Floats:
    grain = rng.standard_normal(values.shape, dtype=np.float32)
    return np.asarray(values + np.float32(rng.uniform(1.0, 6.0)) * grain, dtype=np.float32)


_BEFORE_THE_SENSOR: tuple[tuple[float, Callable[[np.random.Generator, Floats], Floats]], ...] = (
    (0.8, _relight),
    (0.2, _add_haze),
    (0.15, _blur),
    (0.15, _add_noise),
)


def _compress(rng: np.random.Generator, rgb: Rgb) -> Rgb:
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=int(rng.integers(30, 85)))
    return np.asarray(Image.open(stream).convert("RGB"))
