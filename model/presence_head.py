"""Presence head: whether the target of a query is anywhere in the tile.

A mask decoder tends to mark something for every query: masks show where a target is, but are poor evidence of whether
it is there. This head predicts one logit per target from the [SEG] query, the decoded query, and features pooled over
the tile and over the mask. The published architecture has none; a model has one if its configuration says so.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwatch.model.pixel_decoder import PixelFeatures

_PARTS = 5  # [SEG] query, decoded query, tile mean, tile maximum, mean over the mask
_FIGURES = 2  # highest mask logit, covered share


class PresenceHead(nn.Module):
    """Predict calibrated presence logits from queries, pixel features and masks."""

    anchors: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, width: int, targets: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width * _PARTS + _FIGURES, width), nn.ReLU(), nn.Linear(width, 1)
        )
        # buffers, not configuration: calibrating makes another version of the model
        self.register_buffer("anchors", torch.zeros(targets, width))
        self.register_buffer("scale", torch.ones(targets))
        self.register_buffer("shift", torch.zeros(targets))

    def forward(self, pixels: PixelFeatures, queries: Tensor, decoded: Tensor, masks: Tensor) -> Tensor:
        """Compute calibrated logits, > 0 where the target is probably present.

        Parameters
        ----------
        pixels
            Features of B images.
        queries
            (B, Q, width) segmentation queries.
        decoded
            (B, Q, width) the same after the mask decoder.
        masks
            (B, Q, S / 4, S / 4) final mask logits.

        Returns
        -------
        Tensor
            (B, Q).
        """
        return self.apply_calibration(self.logits(pixels, queries, decoded, masks), queries)

    def logits(self, pixels: PixelFeatures, queries: Tensor, decoded: Tensor, masks: Tensor) -> Tensor:
        """Compute (B, Q) logits before calibration; parameters as of :meth:`forward`."""
        count = queries.shape[1]
        cells = masks.detach().flatten(2)
        share = cells.sigmoid()
        masked_mean = torch.einsum("bqn,bcn->bqc", share, pixels.mask_features.flatten(2))
        masked_mean = masked_mean / share.sum(2, keepdim=True).clamp(min=1.0)
        tile = torch.cat([pixels.scales[0].mean((2, 3)), pixels.scales[2].amax((2, 3))], 1)
        figures = torch.stack([cells.amax(2) / 4.0, share.mean(2) * 4.0], 2)
        parts = [queries, decoded, tile[:, None].expand(-1, count, -1), masked_mean, figures]
        logits: Tensor = self.layers(torch.cat(parts, 2))[..., 0]
        return logits

    def apply_calibration(self, logits: Tensor, queries: Tensor) -> Tensor:
        """Scale and shift logits (...) by the values of the target whose anchor is nearest to the query."""
        nearest = (F.normalize(queries, dim=-1) @ F.normalize(self.anchors, dim=-1).T).argmax(-1)
        return logits * self.scale[nearest] + self.shift[nearest]

    @torch.no_grad()
    def set_calibration(self, anchors: Tensor, scale: Tensor, shift: Tensor) -> None:
        """Set scale and shift of the logits for each target.

        Parameters
        ----------
        anchors
            (targets, width) mean query of each target.
        scale
            (targets,) above 0.
        shift
            (targets,).
        """
        self.anchors.copy_(anchors)
        self.scale.copy_(scale)
        self.shift.copy_(shift)


def cap_at_presence(masks: Tensor, presence: Tensor) -> Tensor:
    """Cap mask logits (T, ...) at their target's presence logit (T,).

    A target that is probably absent then has an empty mask, and no pixel scores higher than its target.
    """
    return torch.minimum(masks, presence.to(masks.dtype).view(-1, *[1] * (masks.ndim - 1)))
