"""FLOPs as AC/DC counts them (appendix C.2): convolution and linear layers, a multiply-add is 2, zeros are free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from acdc_cli.sparsity.method import Work
from acdc_cli.sparsity.prunable import prunable_weights


@dataclass(frozen=True)
class LayerSize:
    """A layer's weights, and how often a sample uses each: once an output position, summed over the layer's uses."""

    weights: int
    output_positions: int


def layer_sizes(model: nn.Module, sample_shape: tuple[int, ...]) -> dict[str, LayerSize]:
    """Sizes of all convolution and linear layers by weight name, from one forward pass of a zero sample.

    Args:
        sample_shape: shape of one input sample, without the batch axis, at the resolution that is to be charged.
    """
    weights = prunable_weights(model)
    name_of = {id(weight): name for name, weight in weights.items()}
    positions = dict.fromkeys(weights, 0)

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        channels = output.shape[1] if not isinstance(module, nn.Linear) else output.shape[-1]
        # The batch is one sample, wherever its axis is.
        positions[name_of[id(module.weight)]] += output.numel() // channels

    hooks = [
        module.register_forward_hook(record)
        for module in model.modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)) and id(module.weight) in name_of
    ]
    was_training = model.training
    try:
        model.eval()
        with torch.no_grad():
            first = next(model.parameters())
            model(torch.zeros(1, *sample_shape, device=first.device, dtype=first.dtype))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return {name: LayerSize(weights[name].numel(), positions[name]) for name in weights}


def nonzeros(model: nn.Module) -> dict[str, int]:
    """Non-zero weights of every convolution and linear layer, by weight name."""
    return {name: int(torch.count_nonzero(weight)) for name, weight in prunable_weights(model).items()}


def inference_flops(sizes: Mapping[str, LayerSize], nonzero_weights: Mapping[str, int] | None = None) -> int:
    """FLOPs of one sample's forward pass: 2 * non-zero weights * output positions, summed; None: all weights."""
    return sum(
        2 * (size.weights if nonzero_weights is None else nonzero_weights[name]) * size.output_positions
        for name, size in sizes.items()
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
