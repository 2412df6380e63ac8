"""What every sparse method offers to a training loop, and the optimizer hooks that two or more of them share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

from torch import Tensor, nn
from torch.optim import Optimizer

from acdc_cli.sparsity.masks import MaskSet


@dataclass(frozen=True)
class Work:
    """Which part of a training step skips zero weights in the current epoch; the rest is charged as dense.

    AC/DC, appendix C.2: a step costs a forward pass, the error back-propagated to the inputs, and the weight
    gradients.
    """

    forward_skips_zeros: bool
    error_skips_zeros: bool
    weight_gradient_skips_zeros: bool


class Method(Protocol):
    """The verbs that the loop calls. Between them a method acts through optimizer and gradient hooks."""

    def attach(self, model: nn.Module, optimizer: Optimizer) -> Self:
        """Bind to a model and its optimizer, before the first step."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Do what is due before the epoch's (0-based) first step."""
        ...

    def work(self) -> Work:
        """What a step of the current epoch costs."""
        ...

    @property
    def masks(self) -> MaskSet | None:
        """The newest masks, or None if there are none (yet)."""
        ...

    @property
    def mask_change(self) -> float | None:
        """How far this epoch's new masks are from those before, in [0, 1]; None if none are new."""
        ...

    @property
    def excluded(self) -> list[str]:
        """Names of prunable weights that the method leaves dense throughout."""
        ...

    def outputs(self) -> dict[str, dict[str, Tensor] | None]:
        """``{"sparse": state dict, "dense": state dict}``, None for a model that the method does not make."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on, beside the model's and the optimizer's own state."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        ...


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """Plain state dict: detached copies of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def moment_reset(optimizer: Optimizer) -> Callable[[], None]:
    """A function that returns every per-parameter state of the optimizer to what it is now.

    Call this before the first step: for most optimizers "now" is "nothing yet", which the next step fills in as on
    the very first one, moments and step counters alike. It reads the optimizer's state alone, never ``.grad``: the
    reset of the reference code skips parameters without a gradient, which since PyTorch 2.0 are all of them.
    """
    initial = {parameter: copy.deepcopy(state) for parameter, state in optimizer.state.items()}

    def reset() -> None:
        optimizer.state.clear()
        for parameter, state in initial.items():
            optimizer.state[parameter] = copy.deepcopy(state)

    return reset


def hold_at_zero(weights: dict[str, nn.Parameter], masks: MaskSet, optimizer: Optimizer) -> None:
    """While ``masks.enforced``, keep weights outside the masks at exactly 0.0 through any optimizer.

    Gradients are masked as they accumulate, so that whatever reads them next (clipping, an all-reduce, the
    optimizer's moments) sees masked ones; weights are masked after every step, which stops momentum and weight decay
    from bringing one back. Both are idempotent and count nothing, so a skipped or repeated step does no harm.

    A gradient hook lives as long as its parameter and must not lead back to it: Python cannot see that circle, and
    every model of a sweep would stay in memory. So the hooks know the masks and nothing else.
    """

    def mask_gradient(name: str) -> Callable[[Tensor], None]:
        def hook(parameter: Tensor) -> None:
            if masks.enforced and parameter.grad is not None:
                masks.apply_to_(name, parameter.grad)

        return hook

    for name, weight in weights.items():
        if not weight.requires_grad:
            continue  # frozen: it gets no gradient to mask
        weight.register_post_accumulate_grad_hook(mask_gradient(name))

    def mask_weights(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if masks.enforced:
            masks.apply_(weights)

    optimizer.register_step_post_hook(mask_weights)
