"""AC/DC with timm: its model, its Lamb optimizer, its schedule, and its moving average of the weights.

An average remembers weights from before they were pruned, so it is masked as it is read. Here it is the sparse result.
"""

from __future__ import annotations

import timm
import torch
import torch.nn.functional as F
from digits import Trained, digits, measure
from timm.optim import Lamb
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from acdc_cli import ACDC, Timeline
from acdc_cli.sparsity import model_state


def network() -> nn.Module:
    """The smallest EfficientNet that timm has: depth-wise and point-wise convolutions, squeeze-and-excitation."""
    return timm.create_model("test_efficientnet", in_chans=1, num_classes=10)


def enlarged(images: Tensor) -> Tensor:
    """8 x 8 pixels are too few for a network that halves them five times."""
    return F.interpolate(images[:, None] / 16, size=32, mode="bilinear")


def main(epochs: int = 10, sparsity: float = 0.8, batch_size: int = 64) -> Trained:
    """Train and measure."""
    torch.manual_seed(0)
    data = digits()
    images, labels = enlarged(data.train_images), data.train_labels
    model = network()
    optimizer = Lamb(model.parameters(), lr=2e-2, weight_decay=1e-2)
    schedule = CosineLRScheduler(optimizer, t_initial=epochs, warmup_t=2, warmup_lr_init=1e-3, lr_min=1e-4)
    average = ModelEmaV3(model, decay=0.9)

    method = ACDC(Timeline.acdc(epochs), sparsity).attach(model, optimizer)
    for epoch in range(epochs):
        method.begin_epoch(epoch)
        schedule.step(epoch)
        for batch in torch.randperm(len(labels)).split(batch_size):
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
            average.update(model)

    sparse, dense = model_state(average.module, method.masks), method.outputs()["dense"]
    return measure(model, sparse, dense, enlarged(data.test_images), data.test_labels)


if __name__ == "__main__":
    print(main())
