"""Wide ResNets (Zagoruyko & Komodakis 2016, arXiv 1605.07146), as in AC/DC's CIFAR-100 runs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

FIRST_CHANNELS = 16
# In the last batch norm, new statistics count nine tenths, in place of PyTorch's one tenth.
LAST_NORM_MOMENTUM = 0.9


class WideBlock(nn.Module):
    """Norm before each of two 3x3 convolutions, dropout between them, and a short-cut.

    As in the code of AC/DC (and unlike that of Zagoruyko & Komodakis), the second convolution has the stride, all
    convolutions have biases, and the short-cut takes the block's input as it comes, before the norm.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1)
        self.shortcut = nn.Sequential()  # empty where the shape stays: passes its input on
        if stride != 1 or in_channels != channels:
            self.shortcut.append(nn.Conv2d(in_channels, channels, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H / stride, W / stride)."""
        out = self.dropout(self.conv1(F.relu(self.bn1(x))))
        return self.conv2(F.relu(self.bn2(out))) + self.shortcut(x)


class WideResNet(nn.Module):
    """Wide ResNet of depth 6n + 4: three stages of n blocks, with 16, 32 and 64 times ``width`` channels.

    Input (N, in_channels, H, W) float, 32 x 32 in the papers; output (N, classes). WideResNet-28-10 with 3 input
    channels has 36,518,832 convolution and linear weights for 100 classes and 36,461,232 for 10. Key names,
    ``conv1``, ``layer1.0.conv1`` to ``layer3.3.conv2``, ``shortcut.0`` and ``linear``, are those of AC/DC's configs
    and checkpoints; weights start as PyTorch's layers do.

    Raises:
        ValueError: on a depth that is not 6n + 4.
    """

    def __init__(self, depth: int, width: int, dropout: float, in_channels: int, classes: int) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth {depth} is not 6n + 4 (10, 16, 22, 28, 40)")
        blocks = (depth - 4) // 6
        channels = [FIRST_CHANNELS, *(FIRST_CHANNELS * factor * width for factor in (1, 2, 4))]
        self.conv1 = nn.Conv2d(in_channels, FIRST_CHANNELS, 3, padding=1)
        self.layer1 = _stage(channels[0], channels[1], blocks, 1, dropout)
        self.layer2 = _stage(channels[1], channels[2], blocks, 2, dropout)
        self.layer3 = _stage(channels[2], channels[3], blocks, 2, dropout)
        self.bn1 = nn.BatchNorm2d(channels[3], momentum=LAST_NORM_MOMENTUM)
        self.linear = nn.Linear(channels[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> logits (N, classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.linear(F.relu(self.bn1(x)).mean(dim=(2, 3)))


def _stage(in_channels: int, channels: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = WideBlock(in_channels, channels, stride, dropout)
    return nn.Sequential(first, *(WideBlock(channels, channels, 1, dropout) for _ in range(blocks - 1)))
