"""Say in plain words what does not depend on the model: spectral evidence, and the agreement of a shadow segmenter.

The words are the same in messages, feeds, on the map and in reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NO_EVIDENCE = "no spectral evidence"
"""Words where the source has no bands for it, or too little was clear."""
NOT_COMPARED = "not compared with a shadow segmenter"
_DECIBELS = frozenset({"vv", "vh"})
_COUNTS = frozenset({"pixels", "ring_pixels"})
_RING = "_ring"


def describe_change_evidence(evidence: Mapping[str, Any] | None) -> str:
    """Describe the evidence of a change, such as ``mndwi 0.02 before, 0.31 after; inside 0.33, around 0.05``.

    Parameters
    ----------
    evidence
        As :meth:`segwatch.geo.types.evidence.ChangeEvidence.to_json` returns it; None = the source has no bands.
    """
    if evidence is None:
        return NO_EVIDENCE
    before, after = evidence["before"], evidence["after"]
    detection = evidence["detection"] or {}
    parts = [
        _describe_index(name, (("before", before.get(name)), ("after", after.get(name))), detection)
        for name in sorted({*before, *after, *_list_indices(detection)})
    ]
    return ", ".join(parts) or NO_EVIDENCE


def describe_detection_evidence(evidence: Mapping[str, float] | None) -> str:
    """Describe the evidence of a detection, such as ``mndwi 0.33 inside, 0.05 around``.

    Parameters
    ----------
    evidence
        As :meth:`segwatch.geo.types.evidence.SpectralEvidence.to_json` returns it; None = the source has no bands.
    """
    found = evidence or {}
    return ", ".join(_describe_index(name, (), found) for name in _list_indices(found)) or NO_EVIDENCE


def describe_observations(agree: int | None, disagree: int | None) -> str:
    """Describe how many observations speak for something and against it, such as ``2 for it, 1 against it``."""
    return f"{agree or 0} for it, {disagree or 0} against it"


def describe_agreement(share: float | None, iou: float | None, reason: str | None = None) -> str:
    """Describe how far the shadow segmenter agrees about an object, such as ``found 92 % of it (IoU 0.85)``.

    Parameters
    ----------
    share
        Share of the object that the shadow found, 0..1; None = they were not compared.
    iou
        Intersection over union with the shadow's detections that it meets, 0..1.
    reason
        Why they were not compared; None = not known.
    """
    if share is None or iou is None:
        return f"{NOT_COMPARED}: {reason}" if reason else NOT_COMPARED
    return f"the shadow segmenter found {100 * share:.0f} % of it (IoU {iou:.2f})"


def describe_scene_agreement(shadow: str | None, ious: Mapping[str, float] | None) -> str:
    """Describe the agreement on a scene, such as ``IoU with spectral 1: water 0.87``; empty where nothing was compared.

    Parameters
    ----------
    shadow
        Name and version of the shadow segmenter.
    ious
        Intersection over union by target, 0..1.
    """
    if shadow is None or not ious:
        return ""
    values = ", ".join(f"{target} {value:.2f}" for target, value in sorted(ious.items()))
    return f"IoU with {shadow}: {values}"


def _list_indices(detection: Mapping[str, float]) -> list[str]:
    return sorted({name.removesuffix(_RING) for name in detection if name not in _COUNTS})


def _describe_index(
    name: str, times: Iterable[tuple[str, float | None]], detection: Mapping[str, float]
) -> str:
    places = (("inside", detection.get(name)), ("around", detection.get(f"{name}{_RING}")))
    unit = " dB" if name in _DECIBELS else ""
    groups = [
        ", ".join(f"{value:.2f}{unit} {words}" for words, value in group if value is not None)
        for group in (times, places)
    ]
    return f"{name} " + "; ".join(filter(None, groups))
