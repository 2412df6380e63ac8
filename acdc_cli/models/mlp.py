"""LeNet-300-100 (LeCun et al. 1998), the oldest benchmark of the pruning literature: two hidden layers."""

from __future__ import annotations

from torch import Tensor, nn

HIDDEN = (300, 100)


class MLP(nn.Module):
    """A perceptron with hidden layers of 300 and 100 units and ReLU. On 28x28x1 and 10 classes it has 266,200 weights.

    Args:
        pixels: input values, over all channels.
        classes: number of outputs.
    """

    def __init__(self, pixels: int, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(pixels, HIDDEN[0])
        self.fc2 = nn.Linear(*HIDDEN)
        self.fc3 = nn.Linear(HIDDEN[1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, channels, height, width) -> logits (N, classes)."""
        hidden = self.fc1(images.flatten(1)).relu()
        logits: Tensor = self.fc3(self.fc2(hidden).relu())
        return logits
