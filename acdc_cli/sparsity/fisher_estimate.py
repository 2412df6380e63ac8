"""Estimate the inverse Fisher matrices of a model from a sample of gradients, and repeat singular blocks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from types import MappingProxyType

import torch
from torch import Tensor, nn

from acdc_cli.sparsity.fisher import (
    block_shape,
    count_of,
    in_blocks,
    is_singular,
    not_cast,
    scaled_identity,
    woodbury_,
)
from acdc_cli.sparsity.fisher_memory import require_memory
from acdc_cli.sparsity.fisher_sample import Passes, sample_gradients, working_dtype
from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout

TOGETHER = 16  # gradients in one update; an inverse is then read and written once for 16 gradients
STRONGER, ATTEMPTS = 10.0, 10  # factor on the damping of a singular block, and how often it is applied at most


def inverse_fisher(
    model: nn.Module,
    weights: Mapping[str, nn.Parameter],
    passes: Passes,
    *,
    samples: int,
    block: int,
    damping: float,
    say: Callable[[str], None],
    layouts: Mapping[str, Layout] = MappingProxyType({}),
    there: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Return (lambda I + 1/N sum g g^T)^-1 for each weight, block by block: name -> (b, s, s).

    If a block is singular in floating point, its lambda is raised, ``say`` reports that, and the gradients are computed
    again for the singular blocks.

    Args:
        passes: runs the model and its backward pass, see ``fisher_sample.Passes``.
        samples: N, the number of gradients.
        block: number of weights of a block.
        damping: the initial lambda.
        say: prints one line.
        layouts: layouts of the weights that are not stored outputs first, by name.
        there: name -> mask of the elements that the blocks are made of (bool, at least one True). A weight without an
            entry uses all its elements.

    Raises:
        ValueError: if ``passes`` gives fewer than ``samples`` gradients.
        MemoryError: if the inverses do not fit into the free memory.
        FloatingPointError: if a gradient is not finite, or a block stays singular.
    """
    counts = {name: count_of(weight, there.get(name)) for name, weight in weights.items()}
    require_memory(list(weights.values()), list(counts.values()), block)
    lambdas = {
        name: torch.full(
            block_shape(counts[name], block)[:1], damping, dtype=working_dtype(weight), device=weight.device
        )
        for name, weight in weights.items()
    }
    inverses = _estimate(model, weights, passes, samples, block, lambdas, layouts, there)
    for _ in range(ATTEMPTS):
        singular = {name: is_singular(inverse, lambdas[name]) for name, inverse in inverses.items()}
        singular = {name: blocks for name, blocks in singular.items() if blocks.any()}
        if not singular:
            return inverses
        for name, blocks in singular.items():
            lambdas[name][blocks] *= STRONGER
        _say_damped(say, singular, lambdas, damping)
        unsure = {name: weights[name] for name in singular}
        again = _estimate(model, unsure, passes, samples, block, lambdas, layouts, there, singular)
        for name, blocks in singular.items():
            inverses[name][blocks] = again[name]
    raise FloatingPointError(
        f"the Fisher matrix stays singular in {_first_of(singular)}, damped by up to "
        f"{_largest(lambdas, singular):.0e}; use a larger damping than {damping:.0e}; the paper's is 1e-05"
    )


def _estimate(
    model: nn.Module,
    weights: Mapping[str, nn.Parameter],
    passes: Passes,
    samples: int,
    block: int,
    lambdas: Mapping[str, Tensor],
    layouts: Mapping[str, Layout],
    there: Mapping[str, Tensor],
    only: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Compute the inverses in one pass over the gradients.

    Args:
        only: name -> (b,) bool, True for the blocks to compute. None means all blocks.
    """
    inverses = {}
    for name, weight in weights.items():
        damping = lambdas[name] if only is None else lambdas[name][only[name]]
        inverses[name] = scaled_identity(damping, block_shape(count_of(weight, there.get(name)), block)[1])
    source = sample_gradients(model, weights, passes, samples)
    while together := list(islice(source, TOGETHER)):
        for name, inverse in inverses.items():
            layout, marked = layouts.get(name, OUTPUTS_FIRST), there.get(name)
            gradients = torch.stack([in_blocks(each.pop(name), block, layout, marked) for each in together])
            with not_cast(inverse):
                woodbury_(inverse, gradients if only is None else gradients[:, only[name]], samples)
    return inverses


def _say_damped(
    say: Callable[[str], None], singular: Mapping[str, Tensor], lambdas: Mapping[str, Tensor], damping: float
) -> None:
    count, blocks = sum(int(each.sum()) for each in singular.values()), sum(map(len, lambdas.values()))
    say(
        f"{count} of the Fisher matrix's {blocks} blocks are singular ({_first_of(singular)}): "
        f"damped by up to {_largest(lambdas, singular):.0e} in place of {damping:.0e}"
    )


def _largest(lambdas: Mapping[str, Tensor], names: Iterable[str]) -> float:
    return max(float(lambdas[name].max()) for name in names)


def _first_of(names: Collection[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{next(iter(names))}{more}"
