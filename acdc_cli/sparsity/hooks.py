"""How masks act in anyone's loop: through PyTorch's own gradient and optimizer hooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.steps import before_further_closures

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

    Weights are masked after every step, which stops momentum and weight decay from bringing one back, and within a step
    before its closure is evaluated again. Masking is idempotent and counts nothing, so a skipped or repeated step does
    no harm. Gradients are masked too, see ``mask_gradients``.

    Returns:
        Handles that remove the hooks.
    """

    def mask_weights(*of_the_step: Any) -> None:
        if masks.enforced:
            masks.apply_(weights)

    return [
        *(optimizer.register_step_pre_hook(before_further_closures(mask_weights)) for optimizer in optimizers),
        *(optimizer.register_step_post_hook(mask_weights) for optimizer in optimizers),
    ]


def mask_gradients(weights: dict[str, nn.Parameter], masks: MaskSet, masked: set[str]) -> list[RemovableHandle]:
    """While ``masks.enforced``, zero gradients outside the masks as they accumulate, but for ``dense_gradients``.

    So whatever reads them next (clipping, an all-reduce, the optimizer's moments) sees masked ones.

    A gradient hook lives as long as its parameter and must not lead back to it: Python cannot see that circle, and
    every model of a sweep would stay in memory. So the hooks know the masks and nothing else.

    Args:
        masked: gets the name of each weight whose gradient has come this way.

    Returns:
        Handles that remove the hooks.
    """

    def mask_gradient(name: str) -> Callable[[torch.Tensor], None]:
        def hook(parameter: torch.Tensor) -> None:
            masked.add(name)
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
