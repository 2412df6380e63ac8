"""FLOPs as AC/DC counts them (appendix C.2).

Only the weights of layers count. A multiply-add is 2 FLOPs, and a zero weight costs nothing.
"""

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
    """The number of weights of a layer, and how often one sample uses each of them.

    Attributes:
        weights: number of weights.
        output_positions: number of uses of each weight, summed over the layer's calls: the output positions of a
            convolution, the input positions of a transposed convolution, the time steps of a recurrent layer, the
            tokens that a linear layer or an attention projection is applied to. If parts of a weight are used a
            different number of times, this is their mean, a fraction. An example is the packed projection of
            cross-attention, which takes queries from one sequence and keys from another. Zero weights then count as if
            they were distributed evenly over the parts.
    """

    weights: int
    output_positions: int | Fraction


@dataclass(frozen=True)
class ForwardFlops:
    """The work of one sample's forward pass in a dense model.

    Attributes:
        sizes: the size of each weight whose FLOPs ``inference_flops`` counts, by name. These are the prunable weights,
            and the weight of an embedding if a tied output layer uses it as a matrix.
        attention: FLOPs of products without a weight, such as attention scores and values.
        uncovered: FLOPs of all other weights, by name.
    """

    sizes: dict[str, LayerSize]
    attention: int
    uncovered: dict[str, int]


def forward_flops(model: nn.Module, sample_shape: tuple[int, ...]) -> ForwardFlops:
    """Count the FLOPs of one forward pass on a sample of zeros, by the weight that each executed product uses.

    Args:
        model: preferably on the meta device, where the pass costs nothing.
        sample_shape: shape of one input sample without the batch axis, at the resolution whose cost is wanted.
    """
    first = next(model.parameters())
    return forward_flops_of(model, torch.zeros(1, *sample_shape, device=first.device, dtype=first.dtype))


def forward_flops_of(model: nn.Module, *inputs: object) -> ForwardFlops:
    """Count the FLOPs of one forward pass, as ``forward_flops`` does, on the given inputs (a batch of one sample)."""
    prunable, with_embeddings = prunable_weights(model), prunable_weights(model, embeddings=True)
    products = count_products(model, inputs, list(with_embeddings.values()))
    attention = products.pop(None, 0)
    name_of = {id(weight): name for name, weight in with_embeddings.items()}
    names = {name: name_of.get(id(parameter), name) for name, parameter in model.named_parameters()}
    flops = {names[name]: count for name, count in products.items() if name is not None}
    sizes = {
        name: LayerSize(weight.numel(), _quotient(flops.pop(name, 0), 2 * weight.numel()))
        for name, weight in with_embeddings.items()
        if name in prunable or name in flops
    }
    return ForwardFlops(sizes, attention, flops)


def _quotient(numerator: int, denominator: int) -> int | Fraction:
    fraction = Fraction(numerator, denominator)
    return fraction.numerator if fraction.denominator == 1 else fraction


def layer_sizes(model: nn.Module, sample_shape: tuple[int, ...]) -> dict[str, LayerSize]:
    """Return the ``sizes`` of ``forward_flops``, in model order."""
    return forward_flops(model, sample_shape).sizes


def nonzeros(model: nn.Module) -> dict[str, int]:
    """Return the number of non-zero weights of every prunable layer and every embedding, by weight name."""
    return {name: int(torch.count_nonzero(weight)) for name, weight in prunable_weights(model, embeddings=True).items()}


def inference_flops(sizes: Mapping[str, LayerSize], nonzero_weights: Mapping[str, int] | None = None) -> int:
    """Return the FLOPs of one sample's forward pass: the sum of 2 * non-zero weights * uses of each weight.

    Args:
        sizes: sizes of the layers, by weight name.
        nonzero_weights: number of non-zero weights, by name. None means that all weights are non-zero.
    """
    return round(
        sum(
            2 * (size.weights if nonzero_weights is None else nonzero_weights[name]) * size.output_positions
            for name, size in sizes.items()
        )
    )


def train_flops(forward: int, error: int, weight_gradient: int) -> int:
    """Return the FLOPs of one sample's training step: forward pass, error back-propagation and weight gradients."""
    return forward + error + weight_gradient


def step_flops(work: Work, dense: int, current: int, weight_gradient: int | None = None) -> int:
    """Return ``train_flops`` for the current phase of a method.

    With F the forward cost of the dense model and f that of the current one, dense training costs 3F. AC/DC costs 3f in
    a sparse phase and 2f + F in a dense phase. RigL, which takes all gradients in every n-th step, costs
    3f + (F - f) / n. Sparse variational dropout does every pass twice and costs 6F.

    Args:
        work: which parts of a step skip zero weights.
        dense: F, in FLOPs per sample.
        current: f, in FLOPs per sample.
        weight_gradient: FLOPs of the gradients of ``work.weight_gradient_weights``, for methods that set them.
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
    """Return AC/DC's training FLOPs as a fraction of a dense run's, if no weight stays zero in dense phases.

    Args:
        inference_fraction: f / F in the sparse phases.
        sparse_epochs: number of epochs in sparse phases.
        total_epochs: number of epochs of the run.
    """
    dense_epochs = total_epochs - sparse_epochs
    return (dense_epochs + sparse_epochs * inference_fraction) / total_epochs
