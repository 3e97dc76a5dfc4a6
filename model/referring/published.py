"""Figures that the paper reports for the official model (3 billion parameters), for comparison with measured ones.

arXiv 2512.20013, CVPR 2026, as quoted by an open summary: the paper's own tables were not available. The paper's
"single" and "multiple" are instructions with one target and with several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SOURCE = "SegEarth-R2-3B in arXiv 2512.20013 (CVPR 2026), as an open summary of the paper quotes it"


@dataclass(frozen=True)
class PublishedScores:
    """Shares, 0..1; None = not quoted."""

    g_iou: float
    c_iou: float | None = None


_FIGURES: Mapping[tuple[str, str], Mapping[str, PublishedScores]] = MappingProxyType(
    {
        ("lasers", "test"): {
            "all": PublishedScores(0.572, 0.679),
            "granularity: part": PublishedScores(0.648, 0.683),
            "targets: one": PublishedScores(0.551, 0.692),
            "targets: several": PublishedScores(0.383, 0.562),
            "reasoning: implicit": PublishedScores(0.428, 0.597),
        },
        ("earthreason", "val"): {"all": PublishedScores(0.723)},
        ("earthreason", "test"): {"all": PublishedScores(0.735)},
        ("rrsis-d", "test"): {"all": PublishedScores(0.679)},
        ("risbench", "test"): {"all": PublishedScores(0.705)},
        ("refsegrs", "test"): {"all": PublishedScores(0.748)},
    }
)


def get_figures(dataset: str, split: str) -> Mapping[str, PublishedScores]:
    """Return the paper's figures by group, named as :func:`.score.summarise_by_group` does; empty if there are none."""
    return _FIGURES.get((dataset, split), {})
