"""Apply masks in any training loop, through PyTorch's own gradient and optimizer hooks."""

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
COMPARED_EVERY_STEPS = 100  # ranks compare their masks at most this often, see is_compared


def optimizers_of(optimizer: Optimizers, weights: dict[str, nn.Parameter]) -> list[Optimizer]:
    """Return one or several optimizers as a list, after checking that they call hooks and hold all the weights.

    Raises:
        TypeError: for a wrapper around an optimizer, because its ``step`` calls no hooks.
        ValueError: naming a weight that no optimizer holds. Another optimizer could move it without the masks.
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
            "attach(model, [first, second]), and freeze parameters that none of them trains"
        )
    return optimizers


def hold_at_zero(
    weights: dict[str, nn.Parameter], masks: MaskSet, optimizers: Sequence[Optimizer]
) -> list[RemovableHandle]:
    """Keep weights outside the masks at exactly 0.0 while ``masks.enforced`` is True, for any optimizer.

    Weights are masked after every step, because momentum and weight decay could bring them back, and within a step
    before its closure is evaluated again. Masking twice has the same result as masking once, so a skipped or repeated
    step does no harm. ``mask_gradients`` masks the gradients.

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
    """Set gradients outside the masks to zero as they accumulate, while ``masks.enforced`` is True.

    Clipping, an all-reduce and the optimizer then read masked gradients. With ``masks.dense_gradients``, gradients
    stay unmasked.

    A gradient hook lives as long as its parameter and must not refer to it: Python's garbage collector cannot detect
    such a reference cycle, so every model of a sweep would stay in memory. The hooks therefore refer to the masks only.

    Args:
        masked: the hooks add the name of each weight that gets a gradient.

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
    """Raise TypeError if the optimizer is a wrapper around another one.

    PyTorch's constructor of an optimizer makes ``step`` call the hooks. Wrappers that do not run this constructor, such
    as Accelerate's and Lookahead, accept hooks but never call them, so a method would mask gradients but no weights.
    A wrapper that does call hooks (ZeroRedundancyOptimizer) keeps its moments where a reset cannot find them.
    """
    wraps = any(isinstance(value, Optimizer) for value in vars(optimizer).values())
    if isinstance(optimizer, Optimizer) and getattr(type(optimizer).step, "hooked", False) and not wraps:
        return
    kind = f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"
    inside = "; attach to its .optimizer" if hasattr(optimizer, "optimizer") else ""
    raise TypeError(f"{kind} wraps an optimizer, whose hooks or moments a method cannot reach through it{inside}")


def is_compared(step: int, compared_at: int | None) -> bool:
    """Return whether the masks chosen at this step are compared over the ranks.

    The first masks of an epoch are compared, and later ones at least ``COMPARED_EVERY_STEPS`` after the last
    comparison. A comparison makes the host wait and hashes every mask, which takes 40 ms for ResNet50 plus the copy
    from the GPU. Comparing seldom is enough, because ranks that have drifted apart stay apart.

    Args:
        compared_at: the step of the last comparison in this epoch, or None if there has been none.
    """
    return compared_at is None or step - compared_at >= COMPARED_EVERY_STEPS


def average_over_ranks(tensors: Sequence[torch.Tensor]) -> None:
    """Replace each tensor by its mean over the ranks of the default process group, in one message.

    Nothing happens without a process group. This averages the gradients of parameters that DistributedDataParallel does
    not know. Every rank must pass the same number of tensors, of the same sizes.
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
    """Compare the masks' digests over the ranks of the default process group, if there is one.

    Every rank computes the masks from its own copy of the weights. If masks differ, the copies have drifted apart, and
    every rank would go on to train a different network.

    Raises:
        RuntimeError: on every rank, if the masks of any two ranks differ.
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
