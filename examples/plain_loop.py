"""Use AC/DC in a plain PyTorch loop: attach it once and tell it when an epoch begins. The loop stays as it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from digits import Trained, digits, measure
from torch import nn

from acdc_cli import ACDC, Timeline


def network() -> nn.Module:
    """Return a small convolutional network. Any model works."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)),  # one channel
        nn.Conv2d(1, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )


def main(epochs: int = 20, sparsity: float = 0.9, batch_size: int = 64) -> Trained:
    """Train AC/DC's two models and measure them."""
    torch.manual_seed(0)
    data = digits()
    images, labels = data.train_images / 16, data.train_labels
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)

    method = ACDC(Timeline.acdc(epochs), sparsity).attach(model, optimizer)
    for epoch in range(epochs):
        method.begin_epoch(epoch)
        for batch in torch.randperm(len(labels)).split(batch_size):
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()

    outputs = method.outputs()
    return measure(model, outputs["sparse"], outputs["dense"], data.test_images / 16, data.test_labels)


if __name__ == "__main__":
    print(main())
