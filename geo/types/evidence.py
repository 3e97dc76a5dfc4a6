"""Spectral evidence: index means of detections and of changed ground, measured independently of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class IndexMean:
    """Means of one spectral index."""

    index: str
    """Name in :data:`segwatch.geo.spectral.indices.INDICES`, such as ``ndwi``."""
    inside: float | None
    """Mean over the object; None = no pixel has a value."""
    ring: float | None
    """Mean over the ring around the object; None = no pixel has a value."""


@dataclass(frozen=True, slots=True)
class SpectralEvidence:
    """Index means inside a detection and in the ring around it."""

    means: tuple[IndexMean, ...]
    pixels: int
    """Clear pixels with a value inside the detection."""
    ring_pixels: int
    """Clear pixels with a value in the ring."""

    def to_json(self) -> dict[str, float]:
        """Convert to a flat mapping: ``ndwi``, ``ndwi_ring``, ``pixels`` and so on, without unknown means."""
        found: dict[str, float] = {"pixels": self.pixels, "ring_pixels": self.ring_pixels}
        for one in self.means:
            named = {one.index: one.inside, f"{one.index}_ring": one.ring}
            found |= {name: round(value, 4) for name, value in named.items() if value is not None}
        return found

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Convert back what :meth:`to_json` returned."""
        values = {name: float(value) for name, value in document.items()}
        counts = [int(values.pop(name, 0)) for name in ("pixels", "ring_pixels")]
        names = sorted({name.removesuffix("_ring") for name in values})
        means = tuple(IndexMean(name, values.get(name), values.get(f"{name}_ring")) for name in names)
        return cls(means, *counts)

    def get(self, index: str) -> IndexMean | None:
        """Return the means of one index; None where the source has no bands for it."""
        return next((one for one in self.means if one.index == index), None)


@dataclass(frozen=True, slots=True)
class IndexCells:
    """Means of spectral indices over square cells of an observation, so that any place can be looked up later."""

    crs: str
    """CRS of the observation's pixel grid, as ``EPSG:32633``."""
    cell_m: float
    """Side of a cell, metres."""
    west: float
    """Left edge of the first column, in the CRS."""
    north: float
    """Upper edge of the first row, in the CRS."""
    width: int
    height: int
    names: tuple[str, ...]
    """Names of the indices."""
    values: bytes
    """zlib-compressed little-endian int16 (names, height, width) in thousandths (decibels: hundredths); the smallest
    int16 = less than half of the cell is clear."""


@dataclass(frozen=True, slots=True)
class ChangeEvidence:
    """Index means of the ground of a change, before and after it, over the same cells; and of the object after it."""

    before: tuple[tuple[str, float], ...] = ()
    """(index, mean) in the observation before that saw the place clearly."""
    after: tuple[tuple[str, float], ...] = ()
    """(index, mean) in the observation that shows the change."""
    detection: SpectralEvidence | None = None
    """Evidence of the detection in which the object was found; None where it was not found."""

    def to_json(self) -> dict[str, Any]:
        """Convert to a mapping for JSON."""
        detection = None if self.detection is None else self.detection.to_json()
        return {"before": dict(self.before), "after": dict(self.after), "detection": detection}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Convert back what :meth:`to_json` returned."""
        before, after = (
            tuple(sorted((name, float(value)) for name, value in document[part].items()))
            for part in ("before", "after")
        )
        detection = document["detection"]
        return cls(before, after, None if detection is None else SpectralEvidence.from_json(detection))


@dataclass(frozen=True, slots=True)
class TargetPresence:
    """How probable the segmenter found a target to be in an observation at all, apart from its masks."""

    target: str
    presence: float
    """The highest of all tiles, 0..1."""
    tiles: int
    """Tiles for which the segmenter stated it."""
    tiles_present: int
    """Tiles in which the target is probably present; the masks of the others were dropped."""


@dataclass(frozen=True, slots=True)
class TargetAgreement:
    """Areas on which two segmenters agree and differ, for one target of one observation; geodesic m²."""

    target: str
    both_m2: float
    only_primary_m2: float
    only_shadow_m2: float
    primary_count: int
    """Detections of the main segmenter."""
    shadow_count: int
    """Detections of the shadow segmenter."""
    lost: int = 0
    """Detections of the main segmenter that the shadow covers by less than half: a switch would lose them."""
    gained: int = 0
    """Detections of the shadow segmenter that the main one covers by less than half: a switch would gain them."""
    changed: int = 0
    """Detections of the main segmenter that both found, with another outline: their IoU is below 0.7."""

    @property
    def iou(self) -> float | None:
        """Intersection over union, 0..1; None where neither found anything."""
        union = self.both_m2 + self.only_primary_m2 + self.only_shadow_m2
        return self.both_m2 / union if union > 0 else None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One place where only one of two segmenters found the target."""

    target: str
    found_by: str
    """``primary`` or ``shadow``."""
    wkb: bytes
    """Polygon or MultiPolygon, EPSG:4326, as WKB."""
    area_m2: float
    """Geodesic area, m²."""


@dataclass(frozen=True, slots=True)
class ShadowResult:
    """What a shadow segmenter made of an observation, compared with the main segmenter's result."""

    version: str
    """Name and version of the shadow segmenter."""
    reason: str | None = None
    """What could not be compared, and why: it failed or has no opinion; None = everything was."""
    targets: tuple[TargetAgreement, ...] = ()
    objects: tuple[tuple[float | None, float | None], ...] = ()
    """For each detection of the main segmenter, in order: share of it that the shadow covers, and their IoU; 0..1. None
    where they were not compared."""
    differences: tuple[Disagreement, ...] = ()
    """The largest places of disagreement, largest first."""
    share: float = 1.0
    """Share of the watch's scenes that the shadow is run on, 0..1."""
