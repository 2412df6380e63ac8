"""Every method, and the ways to spread its sparsity and to train that it is put through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from case_run import batch
from helpers.every_method import every_method, from_defaults, goes_with_spread
from invariant_cases import AXES, Case
from torch import distributed, nn

from acdc_cli.sparsity import Allocation, Timeline
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

# Three epochs of four steps (of which the scaler may skip some).
STEPS, EPOCHS = 4, 3
FISHER: dict[str, Any] = {"samples": 6, "block": 10, "damping": 1e-4}
VARIATIONAL: dict[str, Any] = {"samples": 100, "log_alpha_threshold": 1.0, "initial_log_sigma2": -4.0}


def passes(model: nn.Module) -> Iterator[None]:
    """Mini-batches of this rank's own for a Fisher matrix."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    for index in range(FISHER["samples"]):
        images, labels = batch(rank, index, 77)
        F.cross_entropy(model(images), labels).backward()
        yield


def woodfisher_of(target: float | str, **spread: Any) -> Any:
    """Gradual, at the beginning of every epoch; N:M, which has no halfway, at once."""
    window = Window(0, 0, 1) if isinstance(target, str) else Window(0, EPOCHS - 1, 1)
    return woodfisher(Allocation.of(target, **spread), passes, **FISHER, window=window, initial_sparsity=0.1)


SPECIAL: dict[str, Callable[..., Any]] = {
    "gmp": lambda target, **spread: gmp(target, Window(2, 6, 2), initial_sparsity=0.1, **spread),
    "rigl": lambda target, **spread: rigl(target, Window(0, 7, 2), drop_fraction=0.5, seed=3, **spread),
    "set": lambda target, **spread: set_(target, Window(0, 7, 2), drop_fraction=0.5, seed=3, **spread),
    "top_kast": lambda target, **spread: TopKAST(target, backward_sparsity=0.25, interval=2, **spread),
    "dsd": lambda target, **spread: DSD(
        Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3)]), target, **spread
    ),
    "iht": lambda target, **spread: iht(target, Window(0, 99, 1), **spread),
    "static": lambda target, **spread: random_static(target, seed=3, **spread),
    "snip": lambda target, **spread: snip(target, **spread),
    "magnitude": lambda target, **spread: magnitude(target, **spread),
    "woodfisher": woodfisher_of,
    # These two learn how much goes, and where.
    "str": lambda target, **spread: SoftThreshold(s_init=-1.8, s_weight_decay=0.05, rules=spread.get("rules")),
    "sparse_vd": lambda target, **spread: SparseVD(
        target, ramp=Window(1, 5, 1), kl_weight=1.0, rules=spread.get("rules"), **VARIATIONAL
    ),
}
METHODS = every_method(
    SPECIAL, lambda name: lambda target, **spread: from_defaults(name, target, steps=STEPS, epochs=EPOCHS, **spread)
)
# The target, how it is spread, and the weights that go of a convolution's 72 and a linear layer's 32. Blocks and N:M do
# not divide the convolution's two input channels, which leaves it dense.
SPREADS: dict[str, tuple[float | str, dict[str, Any], int]] = {
    "global": (0.75, {}, 78),
    "uniform": (0.75, {"distribution": "uniform"}, 54 + 24),
    "erk": (0.75, {"distribution": "erk"}, 78),
    "rule": (0.75, {"distribution": "uniform", "rules": {"first": 0}}, 24),
    "block": (0.75, {"block": (2, 4)}, 24),
    "2:4": ("2:4", {}, 16),
}
METHOD_AXES: dict[str, tuple[Any, ...]] = {"method": tuple(METHODS), "spread": tuple(SPREADS), **AXES}


@dataclass(frozen=True)
class MethodCase:
    """A method, a spread, and a way to train."""

    method: str
    spread: str
    how: Case

    def __str__(self) -> str:
        return f"{self.method}-{self.spread}-{self.how}"


def goes_together(values: dict[str, Any]) -> bool:
    """RigL and SET move single weights of a layer; N:M has no halfway and no room to grow; what learns its sparsity

    reads of a spread which layers stay dense. See also ``exists``.
    """
    method, spread = values.get("method"), values.get("spread")
    if method is not None and spread is not None and not goes_with_spread(method, spread):
        return False
    return values.get("implementation") != "fused" or values.get("optimizer") not in ("nadam", "lamb")


def case_of(values: dict[str, Any]) -> MethodCase:
    """From a value of each axis."""
    return MethodCase(values["method"], values["spread"], Case(*(values[axis] for axis in AXES)))
