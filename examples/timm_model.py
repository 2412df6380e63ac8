"""Use AC/DC with timm's model, Lamb optimizer, learning-rate schedule and moving average of the weights.

The average still contains weights from before they were pruned, so ``model_state`` masks it when it is read. In this
example the masked average is the sparse model.
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
    """Return timm's smallest EfficientNet, with depth-wise and point-wise convolutions and squeeze-and-excitation."""
    return timm.create_model("test_efficientnet", in_chans=1, num_classes=10)


def enlarged(images: Tensor) -> Tensor:
    """Return the images scaled and enlarged to 32 x 32, because the network halves the resolution five times."""
    return F.interpolate(images[:, None] / 16, size=32, mode="bilinear")


def main(epochs: int = 10, sparsity: float = 0.8, batch_size: int = 64) -> Trained:
    """Train AC/DC's two models and measure them."""
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
