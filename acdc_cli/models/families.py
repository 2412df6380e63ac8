"""The kinds of network that ``model.family`` chooses from, and what of ``model`` each of them reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from acdc_cli.config.schema import ModelConfig, known
from acdc_cli.errors import BadInput
from acdc_cli.models.libraries import timm_model, torchvision_model
from acdc_cli.models.mobilenet_v1 import MobileNetV1
from acdc_cli.models.resnet import ResNet
from acdc_cli.models.wide_resnet import WideResNet

STEM_CHANNELS = 64
RANDOM_FILLS = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.bernoulli_, Tensor.random_),
    *(Tensor.exponential_, Tensor.log_normal_, Tensor.cauchy_, Tensor.geometric_),
}


def build_model(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    """A freshly initialised model for images of that many channels. Raises BadInput for an eps without batch norm."""
    model = FAMILIES[config.family](config, in_channels, classes)
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
    """For tensors without values. On the meta device the first random fill imports PyTorch's compiler: seconds."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return arguments[0] if function in RANDOM_FILLS else function(*arguments, **(options or {}))


def build_skeleton(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    """The model on the meta device: shapes without values, and forward passes at no cost."""
    try:
        with torch.device("meta"), _WithoutRandomFills():
            return build_model(config, in_channels, classes)
    except NotImplementedError:  # torchvision's RegNets compute with a tensor's values as they are built
        return build_model(config, in_channels, classes).to("meta")


def _cifar_resnet(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    shortcut = known(config.shortcut)
    return ResNet(known(config.depth), known(config.width), in_channels=in_channels, classes=classes, shortcut=shortcut)


def _wide_resnet(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    return WideResNet(known(config.depth), known(config.width), known(config.dropout), in_channels, classes)


def _resnet50(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    """torchvision's, unchanged but for a first layer of other than three input channels."""
    from torchvision.models import resnet50  # a second to import, for this family alone

    model = resnet50(weights=None, num_classes=classes)
    if in_channels != 3:
        model.conv1 = nn.Conv2d(in_channels, STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model


def _mobilenet_v1(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    return MobileNetV1(in_channels, classes)


def _torchvision(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    return torchvision_model(config.name, in_channels, classes)


def _timm(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    return timm_model(config.name, in_channels, classes)


FAMILIES: dict[str, Callable[[ModelConfig, int, int], nn.Module]] = {
    "cifar_resnet": _cifar_resnet,
    "wide_resnet": _wide_resnet,
    "resnet50": _resnet50,
    "mobilenet_v1": _mobilenet_v1,
    "torchvision": _torchvision,
    "timm": _timm,
}
