"""How masks act in anyone's loop: through PyTorch's own gradient and optimizer hooks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from acdc_cli.sparsity.masks import MaskSet

Optimizers = Optimizer | Sequence[Optimizer]
COMPARED_EVERY_STEPS = 100  # masks that are chosen more often, over the ranks


def optimizers_of(optimizer: Optimizers, weights: dict[str, nn.Parameter]) -> list[Optimizer]:
    """One or several optimizers as a list, if they call hooks and between them hold all the weights.

    Raises:
        TypeError: for a wrapper around an optimizer, whose ``step`` would never call a hook.
        ValueError: naming a weight that none of them holds, and that would move or decay unmasked.
    """
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    held: set[int] = set()
    for each in optimizers:
        _check_hooks_are_called(each)
        held.update(id(parameter) for group in each.param_groups for parameter in group["params"])
    missing = [name for name, weight in weights.items() if id(weight) not in held]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"{missing[0]}{more}: not among the optimizer's parameters; attach to all optimizers of the model, "
            "attach(model, [first, second]), and freeze what none of them trains"
        )
    return optimizers


def hold_at_zero(
    weights: dict[str, nn.Parameter], masks: MaskSet, optimizers: Sequence[Optimizer]
) -> list[RemovableHandle]:
    """While ``masks.enforced``, keep weights outside the masks at exactly 0.0 through any optimizer.

    Gradients are masked as they accumulate, so that whatever reads them next (clipping, an all-reduce, the
    optimizer's moments) sees masked ones; weights are masked after every step, which stops momentum and weight decay
    from bringing one back. Both are idempotent and count nothing, so a skipped or repeated step does no harm.

    Returns:
        Handles that remove the hooks.
    """

    def mask_weights(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if masks.enforced:
            masks.apply_(weights)

    return [
        *mask_gradients(weights, masks),
        *(optimizer.register_step_post_hook(mask_weights) for optimizer in optimizers),
    ]


def mask_gradients(weights: dict[str, nn.Parameter], masks: MaskSet) -> list[RemovableHandle]:
    """While ``masks.enforced``, zero gradients outside the masks as they accumulate, but for ``dense_gradients``.

    A gradient hook lives as long as its parameter and must not lead back to it: Python cannot see that circle, and
    every model of a sweep would stay in memory. So the hooks know the masks and nothing else.

    Returns:
        Handles that remove the hooks.
    """

    def mask_gradient(name: str) -> Callable[[torch.Tensor], None]:
        def hook(parameter: torch.Tensor) -> None:
            if not masks.enforced or masks.dense_gradients:
                return
            if parameter.grad is not None and not parameter.grad.is_sparse:
                masks.apply_to_(name, parameter.grad)

        return hook

    return [weight.register_post_accumulate_grad_hook(mask_gradient(name)) for name, weight in weights.items()]


def _check_hooks_are_called(optimizer: Optimizer) -> None:
    """PyTorch arms ``step`` in an optimizer's constructor; a wrapper that leaves that out keeps hooks and calls none.

    Accelerate's wrapper is one, Lookahead another: attached to it, a method would mask gradients and no weight. One
    that does call hooks (ZeroRedundancyOptimizer) still keeps its moments elsewhere, where no reset would find them.
    """
    wraps = any(isinstance(value, Optimizer) for value in vars(optimizer).values())
    if isinstance(optimizer, Optimizer) and getattr(type(optimizer).step, "hooked", False) and not wraps:
        return
    kind = f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
    inside = "; attach to its .optimizer" if hasattr(optimizer, "optimizer") else ""
    raise TypeError(f"{kind} wraps an optimizer, its hooks and its moments{inside}")


def moment_reset(optimizer: Optimizer) -> Callable[[], None]:
    """A function that returns every per-parameter state of the optimizer to what it is now.

    Call this before the first step: for most optimizers "now" is "nothing yet", which the next step fills in as on
    the very first one, moments and step counters alike. It reads the optimizer's state alone, never ``.grad``: the
    reset of the reference code skips parameters without a gradient, which since PyTorch 2.0 are all of them.

    PyTorch 2.15's fused SGD with momentum must not have its first step skipped by a gradient scaler: it then goes on
    from a buffer that nobody wrote. After every reset there is such a first step, so use foreach SGD with fp16.

    Some optimizers (LAMB of timm and of Apex) count the steps of a whole group, in the group's own ``step``.
    """
    initial = {parameter: copy.deepcopy(state) for parameter, state in optimizer.state.items()}
    initial_steps = [copy.deepcopy(group.get("step")) for group in optimizer.param_groups]

    def reset() -> None:
        optimizer.state.clear()
        for parameter, state in initial.items():
            optimizer.state[parameter] = copy.deepcopy(state)
        for group, step in zip_longest(optimizer.param_groups, initial_steps):  # a group may have been added since
            if step is None:
                group.pop("step", None)
            else:
                group["step"] = copy.deepcopy(step)

    return reset


def clear_moments(optimizers: Sequence[Optimizer], weight: nn.Parameter, where: torch.Tensor) -> None:
    """Set every per-weight state of the optimizers to 0 at some of a weight's places.

    Args:
        where: bool, of the weight's shape.
    """
    for optimizer in optimizers:
        for state in optimizer.state.get(weight, {}).values():
            if isinstance(state, torch.Tensor) and state.shape == weight.shape:
                state.masked_fill_(where.to(state.device), 0.0)


def is_compared(step: int, compared_at: int | None) -> bool:
    """Whether masks that are chosen at this step are compared over the ranks.

    The first of an epoch are, and then those after ``COMPARED_EVERY_STEPS``: a comparison makes the host wait and reads
    every mask (of ResNet50 40 ms of hashing, beside the copy from a GPU), and copies that have drifted apart stay so.

    Args:
        compared_at: the last such step of this epoch; None: there was none yet.
    """
    return compared_at is None or step - compared_at >= COMPARED_EVERY_STEPS


def average_over_ranks(tensors: Sequence[torch.Tensor]) -> None:
    """Replace each by its mean over the default process group, if there is one, in one message.

    For the gradients of parameters that DistributedDataParallel does not know. Every rank must give as many.
    """
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return
    together = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    for tensor, mean in zip(tensors, together.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


def check_same_on_every_rank(masks: MaskSet) -> None:
    """Compare digests over the default process group, if there is one.

    Every rank computes the masks from its own copy of the weights. Different masks mean that the copies have drifted
    apart, and from then on every rank would train a network of its own: there is no going on.

    Raises:
        RuntimeError: on every rank, if any two differ.
    """
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return
    digests: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(digests, masks.digest())
    different = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if different:
        raise RuntimeError(
            f"the masks of ranks {different} differ from those of rank 0: their weights have drifted apart; "
            "is the model wrapped in DistributedDataParallel, and does every rank do the same steps?"
        )
