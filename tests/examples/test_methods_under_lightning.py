"""Methods that act on a step's gradients, under Lightning, whose optimizers get a closure: bits of a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from acdc_cli.sparsity.methods import SoftThreshold, SparseVD, TopKAST, rigl
from acdc_cli.sparsity.window import Window

METHODS: dict[str, Callable[[], Any]] = {
    "rigl": lambda: rigl(0.8, Window(0, 5, 2), distribution="uniform", seed=3),
    "top_kast": lambda: TopKAST(0.8, backward_sparsity=0.5, distribution="uniform"),
    "str": lambda: SoftThreshold(s_init=-2.5, s_weight_decay=0.05),
    "sparse_vd": lambda: SparseVD(
        0.8, samples=100, ramp=Window(1, 4, 1), kl_weight=1.0, log_alpha_threshold=2.0, initial_log_sigma2=-4.0
    ),
}
EPOCHS, STEPS, MAX_NORM = 2, 4, 0.1

pytestmark = pytest.mark.slow


class Batches(Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index >= STEPS:
            raise IndexError
        generator = torch.Generator().manual_seed(index)
        return torch.randn(8, 6, generator=generator), torch.randint(4, (8,), generator=generator)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
    torch.manual_seed(index)  # noise too
    return F.cross_entropy(model(batch[0]), batch[1])


def by_hand(name: str) -> dict[str, Tensor]:
    model = network()
    optimizer = sgd(model)
    method = METHODS[name]().attach(model, optimizer)
    for epoch in range(EPOCHS):
        method.begin_epoch(epoch)
        for index, batch in enumerate(Batches()):
            optimizer.zero_grad()
            loss_of(model, batch, index).backward()
            nn.utils.clip_grad_norm_([each for group in optimizer.param_groups for each in group["params"]], MAX_NORM)
            optimizer.step()
    return method.outputs()["sparse"]


def by_lightning(name: str) -> dict[str, Tensor]:
    import lightning  # takes longer than all else here

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.method = network(), METHODS[name]()

        def on_fit_start(self) -> None:
            self.method.attach(self.network, self.trainer.optimizers[0])

        def on_train_epoch_start(self) -> None:
            self.method.begin_epoch(self.current_epoch)

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return loss_of(self.network, (batch[0], batch[1]), index)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self.network)

    module = Module()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    options: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "gradient_clip_val": MAX_NORM}
    lightning.Trainer(max_epochs=EPOCHS, **options, **quiet).fit(module, DataLoader(Batches(), batch_size=None))
    return module.method.outputs()["sparse"]


@pytest.mark.parametrize("name", METHODS)
def test_lightnings_steps_are_those_of_a_plain_loop(name: str) -> None:
    expected, found = by_hand(name), by_lightning(name)
    assert 0 < int((expected["0.weight"] == 0).sum()) < 60
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
