"""Building the model that a config describes, with weights or without."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from acdc_cli.config.schema import ModelConfig
from acdc_cli.errors import BadInput

RANDOM_FILLS = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, Tensor.random_),
    *(Tensor.exponential_, Tensor.log_normal_, Tensor.cauchy_, Tensor.geometric_),
}


def build_model(config: ModelConfig, inputs: Any) -> nn.Module:
    """Return a freshly initialised model.

    Args:
        config: which model.
        inputs: what the task builds a model for, such as ``ImageInputs``.

    Raises:
        BadInput: for an eps without batch norm, a model of another task, and what the family refuses.
    """
    try:
        model: nn.Module = config.options.build(inputs)
    except AttributeError as error:
        if error.obj is not inputs:
            raise
        raise BadInput(
            f"model.name={config.name}: is built for data with {error.name}, and these have "
            f"{', '.join(vars(inputs))}; choose a model of this task"
        ) from None
    if config.batch_norm_eps is not None:
        _set_batch_norm_eps(model, config.batch_norm_eps)
    return model


def _set_batch_norm_eps(model: nn.Module, eps: float) -> None:
    norms = [module for module in model.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    if not norms:
        raise BadInput(f"model.batch_norm_eps={eps}: the model has no batch norm; use model.batch_norm_eps=null")
    for norm in norms:
        norm.eps = eps


class _WithoutRandomFills(TorchFunctionMode):
    """Leave out random fills of tensors without values: the first imports PyTorch's compiler, which takes seconds."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return arguments[0] if function in RANDOM_FILLS else function(*arguments, **(options or {}))


def build_skeleton(config: ModelConfig, inputs: Any) -> nn.Module:
    """Return the model on the meta device: shapes without values, and forward passes at no cost."""
    try:
        with torch.device("meta"), _WithoutRandomFills():
            return build_model(config, inputs)
    except NotImplementedError:  # torchvision's RegNets compute with a tensor's values as they are built
        return build_model(config, inputs).to("meta")
