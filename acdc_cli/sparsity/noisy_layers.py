"""Layers with Gaussian weights: outputs are drawn by local reparameterization (arXiv 1506.02557, 1701.05369)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acdc_cli.sparsity.dropout_kl import EPSILON, weight_variance
from acdc_cli.sparsity.kinds import CONVOLUTIONS, TRANSPOSED, plain_forward, uses_of_weights

NOISY_KINDS = ("linear", "conv", "transposed")  # whose output is Gaussian if their weights are


def is_training(module: nn.Module) -> bool:
    """Without gradients nothing is learned: batch-norm statistics, say, are wanted of the network without noise."""
    return module.training and torch.is_grad_enabled()


def layers_with(model: nn.Module, weights: dict[str, nn.Parameter]) -> list[tuple[nn.Module, str]]:
    """The layers that use these weights, each with its weight's name.

    Raises:
        ValueError: naming a layer whose output has another variance than a linear or convolution layer's.
    """
    name_of = {id(weight): name for name, weight in weights.items()}
    noisy = {id(use.module) for use in uses_of_weights(model) if use.kind in NOISY_KINDS}
    layers = []
    for path, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in name_of:
                continue
            if id(module) not in noisy or type(module).forward is not plain_forward(module):
                layer = path if attribute == "weight" else f"{path}.{attribute}".lstrip(".")
                raise ValueError(
                    f"{layer}: sparse_vd needs linear or convolution layers, and {_computed_by(model, path)} computes "
                    "its output in its own way; exclude it by a rule of 0"
                )
            layers.append((module, name_of[id(parameter)]))
    return layers


def _computed_by(model: nn.Module, path: str) -> str:
    """Class name of the module that computes a layer's output: an attention does that for its output projection."""
    parent, module = model.get_submodule(path.rpartition(".")[0]), model.get_submodule(path)
    is_projection = isinstance(parent, nn.MultiheadAttention) and module is parent.out_proj
    return type(parent if is_projection else module).__name__


class ForwardHook:
    """A hook on a module of one method: in a copy of the module, or a pickled one, it does nothing.

    So a copy of the model alone, an average say, is an ordinary network; a copy of the method puts on hooks of its own.
    """

    def __init__(self, call: Callable[..., Tensor | None]) -> None:
        self._call = call

    def __call__(self, *of_the_pass: Any) -> Tensor | None:
        """Do what it was made for."""
        return self._call(*of_the_pass)

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _nothing_done, ()


def _nothing_done() -> Callable[..., None]:
    return _do_nothing


def _do_nothing(*of_the_pass: Any) -> None:
    """What is left of a ``ForwardHook`` in a copy."""


def drop_copied_hooks(model: nn.Module) -> None:
    """Take what is left of another model's hooks off its copy."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if hook is _do_nothing]:
                del hooks[key]


def add_noise(log_sigma2: nn.Parameter) -> ForwardHook:
    """A forward hook that adds what the layer's noisy weights add to its output, in training.

    The noise comes from the default generator.

    Args:
        log_sigma2: of every weight of the layer.
    """

    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if not is_training(layer):
            return None
        variance = _output_variance(layer, inputs[0], output, log_sigma2).float() + EPSILON
        return output + variance.sqrt().to(output.dtype) * torch.randn_like(output)

    return ForwardHook(hook)


def _output_variance(layer: Any, inputs: Tensor, output: Tensor, log_sigma2: Tensor) -> Tensor:
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
        if isinstance(layer, TRANSPOSED):
            return _transposed(layer, squared, variance, output)
        if isinstance(layer, CONVOLUTIONS):
            return layer._conv_forward(squared, variance, None)
        return F.linear(squared, variance.t())  # Hugging Face's Conv1D, whose weight is (in, out)


def _transposed(layer: Any, inputs: Tensor, weight: Tensor, output: Tensor) -> Tensor:
    """The layer with another weight and without bias, in the size of its output, which its caller may have chosen."""
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(layer.kernel_size) - 1]
    axes = range(-len(layer.kernel_size), 0)
    least = [  # the output's size without output padding
        (inputs.shape[axis] - 1) * layer.stride[axis]
        - 2 * layer.padding[axis]
        + layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        + 1
        for axis in axes
    ]
    padding = [output.shape[axis] - size for axis, size in zip(axes, least, strict=True)]
    return convolve(inputs, weight, None, layer.stride, layer.padding, padding, layer.groups, layer.dilation)
