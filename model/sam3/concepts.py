"""What SAM 3 is asked, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ConceptBox:
    """An example of a concept on one image."""

    image: int
    """Position of the image in the same call."""
    corners: tuple[float, float, float, float]
    """Left, top, right, bottom; pixels of the image."""
    is_positive: bool = True
    """False: the box shows what the concept is not."""


@dataclass(frozen=True, slots=True)
class Concept:
    """A concept to segment."""

    phrase: str
    """Noun phrase, such as "flooded road"."""
    boxes: tuple[ConceptBox, ...] = ()
    """Examples, used on the images that show them."""


@dataclass(frozen=True, slots=True, eq=False)
class ConceptPrediction:
    """SAM 3's prediction of one concept on one image of (H, W) pixels."""

    probabilities: NDArray[np.float32]
    """(H, W) of both heads together, times ``presence``, 0..1."""
    instances: NDArray[np.int32]
    """(H, W) number of the object from 1, the surest first; 0 = of no object."""
    presence: float
    """Probability that the concept is in the image at all, 0..1."""

    @property
    def score(self) -> float:
        """The highest probability of a pixel, 0..1."""
        return float(self.probabilities.max(initial=0.0))
