"""A checkpoint with a presence head states presence as a segmenter, and an absent target has an empty mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.segmenters import load_segmenter
from segwatch.geo.types.segmentation import SegmentationRequest
from segwatch.model import pretrained
from segwatch.model.model_version import SHIPPED_MODEL
from segwatch.model.segearth import SegEarthR2


@pytest.mark.parametrize(("logit", "is_vetoed"), [(3.0, False), (-3.0, True)])
def test_presence_of_the_checkpoint_is_that_of_the_segmenter(
    tmp_path: Path, logit: float, is_vetoed: bool
) -> None:
    shipped = pretrained.load_pretrained(SHIPPED_MODEL, torch.device("cpu"), torch.float32)
    model = SegEarthR2(replace(shipped.model.config, presence_targets=1))
    state = {
        key: value for key, value in shipped.model.state_dict().items() if not key.startswith("presence.")
    }
    left_out = model.load_state_dict(state, strict=False)
    assert all(key.startswith("presence.") for key in left_out.missing_keys)
    assert model.presence is not None
    with torch.no_grad():
        last: Any = model.presence.layers[-1]
        last.weight.zero_()
        last.bias.fill_(logit)
    pretrained.save_pretrained(model, shipped.tokenizer, tmp_path)
    settings = load_settings().model_copy(update={"model_path": str(tmp_path), "device": "cpu"})
    segmenter = load_segmenter(settings)
    tile = np.full((segmenter.tile_px, segmenter.tile_px, 3), (20, 40, 60), np.uint8)
    ((found,),) = segmenter.segment([tile], [SegmentationRequest("segment the water", ("water",), 10.0)])
    assert found.presence == pytest.approx([1 / (1 + np.exp(-logit))] * len(found.mask_logits), abs=1e-4)
    assert len(found.mask_logits) >= 1
    assert not is_vetoed or (found.mask_logits <= logit).all()
