"""Encoder of the mask view for small models: EfficientNet-lite0 without its classifier.

Source: EfficientNet, arXiv 1905.11946; the "lite" variants have no squeeze-and-excitation and use ReLU6. Layer names
are those of the published PyTorch weights, which load unchanged. Batch norms keep their statistics, because training
batches are small and mix very different imagery.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STEM = 32
_EPSILON = 1e-3
#: Index of the last block at strides 4, 8, 16 and 32.
_TAPS = (2, 4, 10, 15)


class _Stage(NamedTuple):
    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class LiteEncoder(nn.Module):
    """Encode an image to feature maps at strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv(3, _STEM, 3, stride=2)
        self._bn0 = _FrozenNorm(_STEM)
        blocks, inputs = [], _STEM
        for stage in _STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(_Block(inputs, stage.channels, stage.kernel, stride, stage.expand))
                inputs = stage.channels
        self._blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode (B, 3, S, S) normalised -> res2..res5, (B, LITE_CHANNELS[i], S / (4 * 2**i), S / (4 * 2**i))."""
        features = F.relu6(self._bn0(self._conv_stem(images)))
        maps = []
        for index, block in enumerate(self._blocks):
            features = block(features)
            if index in _TAPS:
                maps.append(features)
        res2, res3, res4, res5 = maps
        return res2, res3, res4, res5


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        self._adds = stride == 1 and inputs == outputs
        self._expand_conv = _SameConv(inputs, inner, 1) if expand > 1 else None
        self._bn0 = _FrozenNorm(inner) if expand > 1 else None
        self._depthwise_conv = _SameConv(inner, inner, kernel, stride=stride, groups=inner)
        self._bn1 = _FrozenNorm(inner)
        self._project_conv = _SameConv(inner, outputs, 1)
        self._bn2 = _FrozenNorm(outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        inner = inputs
        if self._expand_conv is not None and self._bn0 is not None:
            inner = F.relu6(self._bn0(self._expand_conv(inner)))
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        outputs: Tensor = self._bn2(self._project_conv(inner))
        return outputs + inputs if self._adds else outputs


class _SameConv(nn.Conv2d):
    """Convolution padded to ceil(size / stride) pixels as in TensorFlow: the odd pixel goes to the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
        self._total = max(kernel - stride, 0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve (B, C, H, W), H and W multiples of the stride."""
        before, after = self._total // 2, self._total - self._total // 2
        return super().forward(F.pad(inputs, (before, after, before, after)))


class _FrozenNorm(nn.Module):
    """Batch norm with fixed statistics and learned scale and shift."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise as in evaluation mode, whatever the mode."""
        return F.batch_norm(
            inputs, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=_EPSILON
        )
