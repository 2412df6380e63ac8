"""Gradients at fixed weights, between two steps of the optimizer: what the empirical Fisher matrix is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn

Passes = Callable[[nn.Module], Iterable[object]]  # model -> one item after each backward pass over a mini-batch


@contextmanager
def between_steps(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode, so that batch norm's statistics stay; its gradients are put back after.

    They may be those of an accumulation that is under way, or views of DistributedDataParallel's buckets.
    """
    modes = {module: module.training for module in model.modules()}
    gradients = {parameter: parameter.grad for parameter in model.parameters()}
    model.eval()
    _clear(gradients)
    try:
        yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training
        for parameter, gradient in gradients.items():
            parameter.grad = gradient


def sample_gradients(
    model: nn.Module, weights: Mapping[str, nn.Parameter], passes: Passes, count: int
) -> Iterator[dict[str, Tensor]]:
    """The first ``count`` gradients of ``passes``, one after the other, by name; means over the ranks, if there are.

    A weight without a gradient has zeros. Half-precision ones become float32: their squares would not fit.

    Raises:
        ValueError: if there are fewer.
        FloatingPointError: if one is not finite, on every rank.
    """
    found = 0
    with between_steps(model), torch.enable_grad():
        for _ in islice(passes(model), count):
            gradients = {name: _gradient(weight) for name, weight in weights.items()}
            _average_over_ranks(gradients.values())
            for name, gradient in gradients.items():
                if not gradient.isfinite().all():
                    raise FloatingPointError(f"gradient {found + 1} of the Fisher sample is not finite in {name}")
            _clear(model.parameters())
            yield gradients
            found += 1
    if found < count:
        raise ValueError(f"the Fisher sample has {found} gradients, and {count} were asked for")


def _clear(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None


def _gradient(weight: nn.Parameter) -> Tensor:
    if weight.grad is None:
        return torch.zeros_like(weight, dtype=working_dtype(weight)).detach()
    gradient = weight.grad.to_dense() if weight.grad.is_sparse else weight.grad
    return gradient.detach().to(working_dtype(weight))


def working_dtype(weight: Tensor) -> torch.dtype:
    """What a weight's Fisher matrix is kept in: float32, or float64 for float64 weights."""
    return torch.promote_types(weight.dtype, torch.float32)


def _average_over_ranks(gradients: Iterable[Tensor]) -> None:
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return
    for gradient in gradients:
        distributed.all_reduce(gradient)
        gradient /= distributed.get_world_size()
