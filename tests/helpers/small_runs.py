"""Every method on a small network, and a step of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from acdc_cli.sparsity import Timeline
from acdc_cli.sparsity.methods import (
    DSD,
    SoftThreshold,
    SparseVD,
    TopKAST,
    gmp,
    iht,
    magnitude,
    random_static,
    rigl,
    set_,
    snip,
    woodfisher,
)
from acdc_cli.sparsity.window import Window
from helpers.every_method import every_method, from_defaults

STEPS, EPOCHS = 4, 5  # an epoch's steps
EVERY = Window(0, 10_000, 1)


def passes(model: nn.Module) -> Iterator[None]:
    """Twelve mini-batches of two for a Fisher matrix."""
    for index in range(12):
        generator = torch.Generator().manual_seed(1000 + index)
        images, labels = torch.randn(2, 2, 6, 6, generator=generator), torch.randint(4, (2,), generator=generator)
        with torch.autocast("cpu", enabled=False):
            F.cross_entropy(model(images.to(model[0].weight)), labels).backward()
        yield


FISHER: dict[str, Any] = {"samples": 12, "block": 10, "damping": 1e-4}
SPECIAL: dict[str, Callable[[], Any]] = {
    "gmp": lambda: gmp(0.8, Window(2, 14, 3)),
    "rigl": lambda: rigl(0.8, Window(0, 18, 3), distribution="erk", seed=3),
    "set": lambda: set_(0.8, Window(0, 18, 3), distribution="uniform", seed=3),
    "snip": lambda: snip(0.8),
    "iht": lambda: iht(0.8, EVERY),
    "static": lambda: random_static(0.8, distribution="erk"),
    "magnitude": lambda: magnitude(0.8),
    "woodfisher": lambda: woodfisher(0.8, passes, **FISHER),
    "woodfisher_gradual": lambda: woodfisher(0.8, passes, window=Window(1, 3, 1), initial_sparsity=0.2, **FISHER),
    "top_kast": lambda: TopKAST(0.8, backward_sparsity=0.5, interval=2, distribution="uniform"),
    "str": lambda: SoftThreshold(s_init=-1.4, s_weight_decay=0.3),
    "dsd": lambda: DSD(Timeline.of([("dense", 0, 1), ("sparse", 1, 3), ("dense", 3, 5)]), 0.8),
    "sparse_vd": lambda: SparseVD(
        0.8, samples=100, ramp=Window(2, 6, 1), kl_weight=1.0, log_alpha_threshold=2.0, initial_log_sigma2=-4.0
    ),
}
METHODS = every_method(SPECIAL, lambda name: lambda: from_defaults(name, 0.8, steps=STEPS, epochs=EPOCHS))
OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.05),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.05),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5),
}
Run = tuple[nn.Module, Optimizer, Any]


def small_net(seed: int = 0) -> nn.Module:
    """Convolution, batch norm and linear: 72 + 32 prunable weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(8, 4)
    )


def new_run(name: str, optimizer: str = "sgd", seed: int = 0) -> Run:
    model = small_net(seed)
    its_optimizer = OPTIMIZERS[optimizer](model)
    return model, its_optimizer, METHODS[name]().attach(model, its_optimizer)


def backward(model: nn.Module, optimizer: Optimizer, index: int) -> Tensor:
    """The batch depends on the index alone; gradients are left from the step before, as some loops do."""
    generator = torch.Generator().manual_seed(index)
    images, labels = torch.randn(8, 2, 6, 6, generator=generator), torch.randint(4, (8,), generator=generator)
    torch.manual_seed(index)  # noise too
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images.to(model[0].weight)), labels)
    loss.backward()
    return loss


def train_step(model: nn.Module, optimizer: Optimizer, index: int) -> None:
    backward(model, optimizer, index)
    optimizer.step()


def assert_same(left: Any, right: Any) -> None:
    assert (left is None) == (right is None)
    for name in left or ():
        assert torch.equal(left[name], right[name]), name
    assert left is None or list(left) == list(right)
