"""A labelled picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int8]
Rgb = NDArray[np.uint8]

PRESENT, ABSENT, UNKNOWN = np.int8(1), np.int8(0), np.int8(-1)


@dataclass(frozen=True)
class LabelledPicture:
    """One labelled picture."""

    source: str
    """Name of the data set."""
    place: str
    gsd_m: float
    """Ground sample distance, metres."""
    rgb: Rgb
    """(H, W, 3)."""
    labels: Mapping[str, Labels] = field(default_factory=dict)
    """Per target (H, W): 1 present, 0 absent, -1 unknown."""
    absent: tuple[str, ...] = ()
    """Targets certainly absent from the whole picture."""

    def label(self, target: str) -> Labels | None:
        """Return the (H, W) labels of a target; None if nothing is known."""
        if target in self.labels:
            return self.labels[target]
        return np.zeros(self.rgb.shape[:2], np.int8) if target in self.absent else None
