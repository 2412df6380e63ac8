"""Use AC/DC with Lightning's Trainer, with automatic optimization and clipping.

AC/DC needs one callback and no change in the module. Lightning gives its optimizers a closure that does the forward and
backward pass. AC/DC works with that: gradients are masked as they accumulate, before Lightning clips them, and weights
are masked after the optimizer's step.
"""

from __future__ import annotations

import lightning
import torch
import torch.nn.functional as F
from digits import Trained, digits, measure
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from acdc_cli import ACDC, Timeline


class Phases(lightning.Callback):
    """Attaches the method and tells it which epoch begins."""

    def __init__(self, method: ACDC) -> None:
        self.method = method

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Classifier) -> None:
        """Attach the method. At this point the optimizers exist, and no checkpoint has been loaded into them yet."""
        self.method.attach(pl_module.network, trainer.optimizers[0])

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Classifier) -> None:
        """Begin an epoch, before its first batch."""
        self.method.begin_epoch(trainer.current_epoch)


class Classifier(lightning.LightningModule):
    """A module without any code for sparsity."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        return F.cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> Optimizer:
        """Return the optimizer. Any optimizer works."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3, weight_decay=1e-2)


def network() -> nn.Module:
    """Return a multi-layer perceptron."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def main(epochs: int = 20, sparsity: float = 0.9, batch_size: int = 64) -> Trained:
    """Train AC/DC's two models and measure them."""
    lightning.seed_everything(0, verbose=False)
    data = digits()
    model = network()
    method = ACDC(Timeline.acdc(epochs), sparsity)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(
        max_epochs=epochs, devices=1, gradient_clip_val=1.0, callbacks=[Phases(method)], **quiet
    )
    images = TensorDataset(data.train_images / 16, data.train_labels)
    trainer.fit(Classifier(model), DataLoader(images, batch_size, shuffle=True))

    outputs = method.outputs()
    return measure(model, outputs["sparse"], outputs["dense"], data.test_images / 16, data.test_labels)


if __name__ == "__main__":
    print(main())
