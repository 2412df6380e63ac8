"""Where: the weights that a sparse method may prune."""

from __future__ import annotations

from torch import nn

PRUNABLE_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The ``weight`` of every linear and convolution layer, by parameter name, in model order.

    Depth-wise, first, last and short-cut layers are included; biases, norm parameters, embeddings and bare
    parameters never are. A weight shared by two layers appears once, under its first name.
    """
    weights: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if isinstance(module, PRUNABLE_LAYERS) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            assert isinstance(module.weight, nn.Parameter)
            weights[f"{name}.weight" if name else "weight"] = module.weight
    return weights
