"""Layers with Gaussian weights, whose outputs are sampled by local reparameterization.

Sources: arXiv 1506.02557 (the reparameterization) and 1701.05369 (its use for sparse variational dropout).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acdc_cli.sparsity.dropout_kl import EPSILON, weight_variance
from acdc_cli.sparsity.kinds import CONVOLUTIONS, TRANSPOSED, plain_forward, uses_of_weights

NOISY_KINDS = ("linear", "conv", "transposed")  # the output of these kinds is Gaussian if their weights are Gaussian


def is_training(module: nn.Module) -> bool:
    """Return whether the layer adds noise: in training mode and with gradients enabled.

    A pass without gradients does not train, for example one that recomputes batch-norm statistics. Its results are
    those of the network without noise.
    """
    return module.training and torch.is_grad_enabled()


def layers_with(model: nn.Module, weights: dict[str, nn.Parameter]) -> list[tuple[nn.Module, str]]:
    """Return the layers that use these weights, each with the name of its weight.

    Raises:
        ValueError: naming a layer that does not compute its output as a linear or convolution layer does. The variance
            of its output is then unknown.
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
    """Return the class name of the module that computes a layer's output.

    This is the layer itself, except for the output projection of an attention, whose output the attention computes.
    """
    parent, module = model.get_submodule(path.rpartition(".")[0]), model.get_submodule(path)
    is_projection = isinstance(parent, nn.MultiheadAttention) and module is parent.out_proj
    return type(parent if is_projection else module).__name__


class ForwardHook:
    """A hook of a method on a module. If the module is copied or pickled, the copy's hook does nothing.

    A copy of the model alone, such as a moving average, is therefore an ordinary network. A copy of the method together
    with its model registers new hooks.
    """

    def __init__(self, call: Callable[..., Tensor | None]) -> None:
        self._call = call

    def __call__(self, *of_the_pass: Any) -> Tensor | None:
        """Call the function that the hook was made with."""
        return self._call(*of_the_pass)

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _nothing_done, ()


def _nothing_done() -> Callable[..., None]:
    return _do_nothing


def _do_nothing(*of_the_pass: Any) -> None:
    """Do nothing. This function takes the place of a ``ForwardHook`` in a copy."""


def drop_copied_hooks(model: nn.Module) -> None:
    """Remove the hooks without effect that a copied model has in place of the original's ``ForwardHook``."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if hook is _do_nothing]:
                del hooks[key]


def add_noise(log_sigma2: nn.Parameter) -> ForwardHook:
    """Return a forward hook that, in training, adds the noise to the layer's output that its noisy weights cause.

    The noise is drawn from PyTorch's default generator.

    Args:
        log_sigma2: log sigma^2 of every weight of the layer.
    """

    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if not is_training(layer):
            return None
        variance = _output_variance(layer, inputs[0], output, log_sigma2).float() + EPSILON
        return output + variance.sqrt().to(output.dtype) * torch.randn_like(output)

    return ForwardHook(hook)


def _output_variance(layer: Any, inputs: Tensor, output: Tensor, log_sigma2: Tensor) -> Tensor:
    """Return the variance of the layer's output, (N, ...) in its shape: the layer applied to inputs^2 and sigma^2.

    The bias is left out. Under float16 autocast the variance is computed in float32, because squares exceed the range
    of float16 (6e-8 to 65,504). The range of bfloat16 is large enough.
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
    """Apply a transposed convolution with another weight and without bias.

    The result has the size of ``output``, because a caller of the layer may have chosen that size.
    """
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(layer.kernel_size) - 1]
    axes = range(-len(layer.kernel_size), 0)
    least = [  # size of the output without output padding
        (inputs.shape[axis] - 1) * layer.stride[axis]
        - 2 * layer.padding[axis]
        + layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        + 1
        for axis in axes
    ]
    padding = [output.shape[axis] - size for axis, size in zip(axes, least, strict=True)]
    return convolve(inputs, weight, None, layer.stride, layer.padding, padding, layer.groups, layer.dilation)
