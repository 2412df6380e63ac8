"""LeNet-5 as Caffe has it (examples/mnist/lenet_train_test.prototxt), which the pruning literature prunes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

KERNEL, POOL = 5, 2
SMALLEST = 16  # pixels that leave one after both convolutions and poolings


def pixels_left(pixels: int) -> int:
    """Height or width of the last feature map, of images of that height or width."""
    for _ in range(2):
        pixels = (pixels - KERNEL + 1) // POOL
    return pixels


class LeNet5(nn.Module):
    """Two convolutions of 5x5, each pooled 2x2, and two linear layers. On 28x28x1 and 10 classes: 430,500 weights.

    As in Caffe there is one ReLU, after the first linear layer.

    Args:
        in_channels: of the images.
        height: of the images, at least 16 pixels.
        width: of the images, at least 16 pixels.
        classes: number of outputs.
    """

    def __init__(self, in_channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 20, KERNEL)
        self.conv2 = nn.Conv2d(20, 50, KERNEL)
        self.fc1 = nn.Linear(50 * pixels_left(height) * pixels_left(width), 500)
        self.fc2 = nn.Linear(500, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, channels, height, width) -> logits (N, classes)."""
        features = F.max_pool2d(self.conv1(images), POOL)
        features = F.max_pool2d(self.conv2(features), POOL)
        logits: Tensor = self.fc2(self.fc1(features.flatten(1)).relu())
        return logits
