"""What the invariants must hold under: the axes, and which of their combinations exist."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Case:
    """One way to train.

    Attributes:
        optimizer: a name of ``OPTIMIZERS``.
        precision: fp32, bf16 autocast, or fp16 autocast with a gradient scaler that skips steps.
        implementation: ``foreach``, ``fused`` or ``loop``, which of its own code the optimizer runs.
        accumulation: micro-batches a step.
        clipping: whether the gradient norm is clipped.
        average: whether an exponential moving average of the weights runs along.
        ranks: processes, joined by DistributedDataParallel over gloo.
        compiled: whether the model goes through torch.compile.
    """

    optimizer: str
    precision: str
    implementation: str
    accumulation: int
    clipping: bool
    average: bool
    ranks: int
    compiled: bool = False

    def __str__(self) -> str:
        words = [self.optimizer, self.precision, self.implementation, f"accumulate{self.accumulation}"]
        words += ["clip"] * self.clipping + ["ema"] * self.average + [f"ranks{self.ranks}"]
        return "-".join(words + ["compile"] * self.compiled)


AXES: dict[str, tuple[Any, ...]] = {
    "optimizer": ("sgd", "nesterov", "adam", "adamw", "nadam", "lamb"),
    "precision": ("fp32", "bf16", "fp16"),
    "implementation": ("foreach", "fused", "loop"),
    "accumulation": (1, 2),
    "clipping": (False, True),
    "average": (False, True),
    "ranks": (1, 2),
}


def exists(case: Case) -> bool:
    """PyTorch has no fused NAdam, timm no fused LAMB; everything else goes with everything."""
    return case.implementation != "fused" or case.optimizer not in ("nadam", "lamb")


def all_cases() -> list[Case]:
    """The full product, without compilation."""
    return [case for values in itertools.product(*AXES.values()) if exists(case := Case(*values))]


def pairs_of(case: Case) -> Iterator[tuple[tuple[str, Any], ...]]:
    """Every two values that the case brings together."""
    fields = asdict(case)
    return itertools.combinations([(axis, fields[axis]) for axis in AXES], 2)


def lamb(parameters: Iterable[nn.Parameter], **options: Any) -> Optimizer:
    """timm's. Imported late: it takes longer than PyTorch, in every process."""
    from timm.optim import Lamb

    return Lamb(parameters, **options)


# Weight decay everywhere: it is one of the things that move a weight without a gradient.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda p, **how: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2, **how),
    "nesterov": lambda p, **how: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2, **how),
    "adam": lambda p, **how: torch.optim.Adam(p, lr=0.01, weight_decay=1e-2, **how),
    "adamw": lambda p, **how: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, **how),
    "nadam": lambda p, **how: torch.optim.NAdam(p, lr=0.01, weight_decay=1e-2, **how),
    "lamb": lambda p, **how: lamb(p, lr=0.01, weight_decay=1e-2, **how),
}
IMPLEMENTATIONS = {"foreach": {"foreach": True}, "fused": {"fused": True}, "loop": {"foreach": False}}


def optimizer_of(case: Case, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """A new optimizer of the case's kind."""
    return OPTIMIZERS[case.optimizer](parameters, **IMPLEMENTATIONS[case.implementation])
