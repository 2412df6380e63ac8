"""Sample gradients at fixed weights, between two optimizer steps, for the empirical Fisher matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn

Passes = Callable[[nn.Module], Iterable[object]]  # takes the model; yields once after each mini-batch's backward pass


@contextmanager
def between_steps(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode without gradients, and restore its modes and gradients afterwards.

    In evaluation mode, the running statistics of batch norm do not change. Existing gradients are kept because they may
    belong to an unfinished gradient accumulation, or be views of DistributedDataParallel's buckets.
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
    """Yield the first ``count`` gradients of ``passes``, each as name -> gradient, averaged over ranks.

    A weight without a gradient gets zeros. Half-precision gradients become float32, because their squares could exceed
    the range of half precision.

    Raises:
        ValueError: if ``passes`` yields fewer than ``count`` times.
        FloatingPointError: if a gradient is not finite. Every rank raises this error.
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
    """Return the type of a weight's Fisher matrix: float32, or float64 for float64 weights."""
    return torch.promote_types(weight.dtype, torch.float32)


def _average_over_ranks(gradients: Iterable[Tensor]) -> None:
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return
    for gradient in gradients:
        distributed.all_reduce(gradient)
        gradient /= distributed.get_world_size()
