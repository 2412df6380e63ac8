"""Layers small enough to follow by hand: the gradient of a row's weights is the input that it is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from acdc_cli.sparsity.masks import pack


def row(*weights: float) -> nn.Linear:
    """One output, its weights by hand."""
    layer = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    return layer


def rows(*layers: tuple[float, ...]) -> nn.ModuleList:
    """Several rows, as layers 0, 1, ... of one model."""
    return nn.ModuleList(row(*weights) for weights in layers)


def backward(layer: nn.Module, *gradient: float) -> None:
    """Add this to the gradient of the layer's weights."""
    layer(torch.tensor([gradient])).sum().backward()


def step(layer: nn.Module, optimizer: Optimizer, *gradient: float) -> None:
    """One step of the optimizer with exactly this gradient, before any mask."""
    optimizer.zero_grad()
    backward(layer, *gradient)
    optimizer.step()


def weights_of(layer: nn.Module) -> list[float]:
    """A row's weights."""
    return layer.weight[0].tolist()


def gradient_of(layer: nn.Module) -> list[float]:
    """A row's gradient."""
    return layer.weight.grad[0].tolist()


def mask_of(method: Any, name: str = "weight") -> list[int]:
    """A row's mask."""
    return method.masks[name].int()[0].tolist()


def set_masks(method: Any, **masks: list[int]) -> None:
    """Make these the masks of a method that began with others: what stands outside them becomes zero."""
    state = method.state_dict()
    state["masks"] = {name: pack(torch.tensor([mask], dtype=torch.bool)) for name, mask in masks.items()}
    method.load_state_dict(state)


def plain_sgd(model: nn.Module, lr: float = 1.0, **options: Any) -> Optimizer:
    """A weight moves by its gradient."""
    return torch.optim.SGD(model.parameters(), lr=lr, **options)
