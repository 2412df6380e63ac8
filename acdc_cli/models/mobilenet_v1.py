"""MobileNetV1 (Howard et al. 2017, arXiv 1704.04861, table 1), with the key names of AC/DC's reference configs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

# Output channels and stride of the 13 depth-wise separable blocks.
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
FIRST_CHANNELS = 32


class MobileNetV1(nn.Module):
    """MobileNetV1 of width 1.

    Input (N, in_channels, H, W) float, 224 x 224 in the papers; output (N, classes). With 3 input channels and 1000
    classes it has 4,209,088 convolution and linear weights. Key names, ``model.0.0`` to ``model.13.3`` and ``fc``, are
    those of the checkpoints that AC/DC and STR released; weights start as PyTorch's layers do.
    """

    def __init__(self, in_channels: int = 3, classes: int = 1000) -> None:
        super().__init__()
        blocks = [_convolution(in_channels, FIRST_CHANNELS, 2)]
        channels = FIRST_CHANNELS
        for out_channels, stride in BLOCKS:
            blocks.append(_separable(channels, out_channels, stride))
            channels = out_channels
        self.model = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> logits (N, classes)."""
        return self.fc(F.adaptive_avg_pool2d(self.model(x), 1).flatten(1))


def _convolution(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


def _separable(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution across them; flat, for the key names."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )
