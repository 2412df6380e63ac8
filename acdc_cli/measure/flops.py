"""FLOPs as AC/DC counts them (appendix C.2): the layers' weights alone, a multiply-add is 2, zeros are free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import nn

from acdc_cli.measure.products import count_products
from acdc_cli.sparsity.prunable import prunable_weights
from acdc_cli.sparsity.work import Work


@dataclass(frozen=True)
class LayerSize:
    """A layer's weights, and how often a sample uses each of them.

    Attributes:
        weights: how many there are.
        output_positions: uses of a weight, summed over the layer's calls: a convolution's output positions, a
            transposed one's input positions, a recurrent layer's time steps, the tokens that a linear layer or an
            attention projection is applied to. A fraction, the mean, where one part of a weight is used more often
            than another: the packed projection of cross-attention takes queries from one sequence and keys from
            another. Its zeros then count as if they were spread evenly over the parts.
    """

    weights: int
    output_positions: int | Fraction


@dataclass(frozen=True)
class ForwardFlops:
    """What one sample's forward pass executes, all weights counted.

    Attributes:
        sizes: of each weight whose FLOPs ``inference_flops`` counts: the prunable weights, and an embedding table that
            is used as a matrix as well, which is the weight of a tied output layer.
        attention: FLOPs of products without a weight, such as attention scores and values.
        uncovered: FLOPs of all other weights, by name.
    """

    sizes: dict[str, LayerSize]
    attention: int
    uncovered: dict[str, int]


def forward_flops(model: nn.Module, sample_shape: tuple[int, ...]) -> ForwardFlops:
    """Count one forward pass of a zero sample, by what is executed and by the weight that is used.

    Args:
        model: best on the meta device, where the pass costs nothing.
        sample_shape: shape of one input sample, without the batch axis, at the resolution that is to be charged.
    """
    first = next(model.parameters())
    return forward_flops_of(model, torch.zeros(1, *sample_shape, device=first.device, dtype=first.dtype))


def forward_flops_of(model: nn.Module, *inputs: object) -> ForwardFlops:
    """``forward_flops`` for the inputs that are given, a batch of one sample, instead of zeros."""
    prunable, tables = prunable_weights(model), prunable_weights(model, embeddings=True)
    products = count_products(model, inputs, list(tables.values()))
    attention = products.pop(None, 0)
    name_of = {id(weight): name for name, weight in tables.items()}
    names = {name: name_of.get(id(parameter), name) for name, parameter in model.named_parameters()}
    flops = {names[name]: count for name, count in products.items() if name is not None}
    sizes = {
        name: LayerSize(weight.numel(), _quotient(flops.pop(name, 0), 2 * weight.numel()))
        for name, weight in tables.items()
        if name in prunable or name in flops
    }
    return ForwardFlops(sizes, attention, flops)


def _quotient(numerator: int, denominator: int) -> int | Fraction:
    fraction = Fraction(numerator, denominator)
    return fraction.numerator if fraction.denominator == 1 else fraction


def layer_sizes(model: nn.Module, sample_shape: tuple[int, ...]) -> dict[str, LayerSize]:
    """The ``sizes`` of ``forward_flops``, in model order."""
    return forward_flops(model, sample_shape).sizes


def nonzeros(model: nn.Module) -> dict[str, int]:
    """Non-zero weights of every layer whose FLOPs are counted, and of every embedding table, by weight name."""
    return {name: int(torch.count_nonzero(weight)) for name, weight in prunable_weights(model, embeddings=True).items()}


def inference_flops(sizes: Mapping[str, LayerSize], nonzero_weights: Mapping[str, int] | None = None) -> int:
    """FLOPs of one sample's forward pass: 2 * non-zero weights * uses of each, summed; None: all weights."""
    return round(
        sum(
            2 * (size.weights if nonzero_weights is None else nonzero_weights[name]) * size.output_positions
            for name, size in sizes.items()
        )
    )


def train_flops(forward: int, error: int, weight_gradient: int) -> int:
    """FLOPs of one sample's training step: forward, error back-propagation, weight gradients (each in FLOPs)."""
    return forward + error + weight_gradient


def step_flops(work: Work, dense: int, current: int, weight_gradient: int | None = None) -> int:
    """``train_flops`` of a method's current phase, given the dense (F) and the current (f) forward cost.

    Dense training is 3F; AC/DC is 3f in a sparse and 2f + F in a dense phase; RigL, whose every n-th step takes all
    gradients, 3f + (F - f) / n; sparse variational dropout, which does every pass twice, 6F.

    Args:
        weight_gradient: FLOPs of the gradients of ``work.weight_gradient_weights``, if the method has them.
    """
    if weight_gradient is None:
        weight_gradient = current if work.weight_gradient_skips_zeros else dense
    weight_gradient += round(work.dense_gradient_share * (dense - weight_gradient))
    return work.passes * train_flops(
        current if work.forward_skips_zeros else dense,
        current if work.error_skips_zeros else dense,
        weight_gradient,
    )


def closed_form_train_fraction(inference_fraction: float, sparse_epochs: int, total_epochs: int) -> float:
    """AC/DC's training FLOPs over a dense run's, if no weight stays zero in dense phases.

    Args:
        inference_fraction: f / F in the sparse phases.
    """
    dense_epochs = total_epochs - sparse_epochs
    return (dense_epochs + sparse_epochs * inference_fraction) / total_epochs
