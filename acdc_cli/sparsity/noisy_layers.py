"""Layers with Gaussian weights: outputs are drawn by local reparameterization (arXiv 1506.02557, 1701.05369)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acdc_cli.sparsity.dropout_kl import EPSILON, weight_variance
from acdc_cli.sparsity.prunable import PRUNABLE_LAYERS


def is_training(module: nn.Module) -> bool:
    """Without gradients nothing is learned: batch-norm statistics, say, are wanted of the network without noise."""
    return module.training and torch.is_grad_enabled()


def layers_with(model: nn.Module, weights: dict[str, nn.Parameter]) -> list[tuple[nn.Module, str]]:
    """The layers that use these weights, each with its weight's name.

    Raises:
        ValueError: naming a layer whose output has another variance than a linear or convolution layer's.
    """
    name_of = {id(weight): name for name, weight in weights.items()}
    layers = []
    for path, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if id(weight) not in name_of:
            continue
        kind = next((kind for kind in PRUNABLE_LAYERS if isinstance(module, kind)), None)
        if kind is None or type(module).forward is not kind.forward:
            raise ValueError(
                f"{path}: sparse_vd needs linear or convolution layers, and {type(module).__name__} computes its "
                "output in its own way; exclude it by a rule of 0"
            )
        layers.append((module, name_of[id(weight)]))
    return layers


def add_noise(log_sigma2: nn.Parameter) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
    """A forward hook that adds what the layer's noisy weights add to its output, in training.

    The noise comes from the default generator. The hook is a plain function: a deep copy of the model shares it.

    Args:
        log_sigma2: of every weight of the layer.
    """

    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if not is_training(layer):
            return None
        variance = _output_variance(layer, inputs[0], log_sigma2).float() + EPSILON
        return output + variance.sqrt().to(output.dtype) * torch.randn_like(output)

    return hook


def _output_variance(layer: Any, inputs: Tensor, log_sigma2: Tensor) -> Tensor:
    """The layer over squared inputs and sigma^2, without bias: (N, ...) as its output.

    bfloat16 has the range for it, float16 does not: it ends at 65,504, and below 6e-8.
    """
    device = inputs.device.type
    is_half = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
    variance = weight_variance(layer.weight, log_sigma2.to(layer.weight))
    with torch.autocast(device, enabled=False) if is_half else nullcontext():
        squared = (inputs.float() if is_half else inputs).square()
        if isinstance(layer, nn.Linear):
            return F.linear(squared, variance)
        return layer._conv_forward(squared, variance, None)
