"""The segmenters of *Use your own model* run as they are written there."""

from __future__ import annotations

from typing import Any

import numpy as np

from segwatch.flows.inference.segmenters import adapt
from segwatch.geo.types.segmentation import SegmentationRequest, TilePrediction
from tests.support.documents import read_page

REQUEST = SegmentationRequest("segment the roofs and the sand", ("roof", "sand"), 0.6)


def _predict(name: str, value: int) -> TilePrediction:
    """Prediction of a segmenter of the page on a tile of one grey value."""
    names: dict[str, Any] = {}
    for block in read_page("docs/how-to/own-model.md").blocks:
        if block.language == "python" and f"class {name}" in block.text:
            exec(block.text, names)  # noqa: S102 - the page's own example
    segmenter = adapt(names[name]())
    assert segmenter.version.startswith("bright")
    ((found,),) = segmenter.segment([np.full((8, 8, 3), value, np.uint8)], [REQUEST])
    return found


def test_a_segmenter_of_requests() -> None:
    bright, dark = (_predict("BrightSegmenter", value) for value in (250, 10))
    assert bright.mask_logits.shape == (2, 8, 8)
    assert (bright.mask_logits > 0).all()
    assert (bright.presence, dark.presence) == ((1.0, 1.0), (0.0, 0.0))


def test_a_segmenter_of_texts_keeps_working() -> None:
    found = _predict("OlderSegmenter", 250)
    assert isinstance(found, TilePrediction)
    assert found.text == "bright ground"
    assert (found.mask_logits > 0).all()
    assert (found.scores, found.presence, found.instances) == (None, None, None)
