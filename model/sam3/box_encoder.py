"""SAM 3's encoder of example boxes, with the pooling of torchvision's ``roi_align`` in torch alone.

transformers pools with torchvision, which segwatch does not need otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.sam3.configuration_sam3 import Sam3Config
from transformers.models.sam3.modeling_sam3 import Sam3GeometryEncoder, Sam3Model


def pool_box(features: Tensor, corners: Tensor, size: int) -> Tensor:
    """Average features over a grid of cells of a box, as ``torchvision.ops.roi_align`` with its defaults.

    Each cell is the mean of evenly spaced bilinear samples, at least one a pixel.

    Parameters
    ----------
    features
        (C, h, w); the centre of the first pixel is at 0.
    corners
        (4,) left, top, right, bottom; pixels of the features.
    size
        Cells along each side.

    Returns
    -------
    Tensor
        (C, size, size).
    """
    height, width = features.shape[1:]
    left, top, right, bottom = corners.float().tolist()
    rows, count_y = _place_samples(top, bottom, size, features.device)
    columns, count_x = _place_samples(left, right, size, features.device)
    y = 2 * rows / max(height - 1, 1) - 1
    x = 2 * columns / max(width - 1, 1) - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    sampled = F.grid_sample(
        features[None].float(), grid[None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return F.avg_pool2d(sampled, (count_y, count_x))[0].to(features.dtype)


def _place_samples(begin: float, end: float, size: int, device: torch.device) -> tuple[Tensor, int]:
    """Positions of the samples along one side of a box, and how many each cell has."""
    length = max(end - begin, 1.0)
    count = max(math.ceil(length / size), 1)
    steps = torch.arange(size * count, device=device, dtype=torch.float32) + 0.5
    return begin + steps * (length / (size * count)), count


class BoxEncoder(Sam3GeometryEncoder):
    """The encoder of example boxes; its parameters are those of the published one."""

    def _encode_boxes(
        self, boxes: Tensor, boxes_mask: Tensor, boxes_labels: Tensor, vision_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode (B, N, 4) boxes, normalised (centre x, centre y, width, height), on (B, C, h, w) features."""
        batch, count = boxes.shape[:2]
        height, width = vision_features.shape[-2:]
        centre, extent = boxes[..., :2], boxes[..., 2:]
        scale = torch.tensor([width, height, width, height], device=boxes.device)
        corners = torch.cat([centre - extent / 2, centre + extent / 2], -1) * scale
        pooled = torch.stack(
            [
                pool_box(features, one, self.roi_size)
                for features, some in zip(vision_features, corners, strict=True)
                for one in some
            ]
        )
        projected = self.boxes_pool_project(pooled).view(batch, count, self.hidden_size)
        position = self._encode_box_coordinates(*boxes.flatten(0, 1).unbind(-1)).view(batch, count, -1)
        embedded = (
            self.boxes_direct_project(boxes)
            + projected
            + self.boxes_pos_enc_project(position.to(boxes.dtype))
        )
        return self.label_embed(boxes_labels.long()) + embedded, boxes_mask


class Sam3(Sam3Model):  # type: ignore[no-untyped-call]  # transformers' base class
    """SAM 3's image model, with :class:`BoxEncoder`."""

    def __init__(self, config: Sam3Config) -> None:
        super().__init__(config)
        part: Any = self.config.geometry_encoder_config
        self.geometry_encoder = BoxEncoder(part)
        self.post_init()  # type: ignore[no-untyped-call]
