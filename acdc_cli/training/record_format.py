"""The number of the record format, which enters a run's id where records of its network count something else now."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from acdc_cli.config.resolution import keys_of_size, view_of
from acdc_cli.config.schema import LIBRARIES, Config, ModelConfig, is_pruned_to_target
from acdc_cli.data.options import image_facts
from acdc_cli.measure.network import network_flops
from acdc_cli.models import build_skeleton
from acdc_cli.models.fit import require_fit
from acdc_cli.sparsity.prunable import prunable_layers

CURRENT = 2
ENDS = ("first", "last")  # words of sparsity.rules


def record_format(config: Config) -> int | None:
    """2 if a record of the config's network differs from one of format 1; None if it does not, so that old ids stay.

    Format 1 knew the weights of ``nn.Linear`` and ``nn.Conv1d/2d/3d`` alone, embedding tables that a linear layer
    shares among them. It counted a use of a weight for each output position of each call of such a layer. The first and
    the last of these layers in model order had the words ``first`` and ``last``. The format is 2 if, at the resolution
    of evaluation,

    - other weights are prunable, or an embedding table is used as a matrix,
    - a weight is used another number of times, because a function uses it and not its layer, or
    - ``sparsity.rules`` has the word ``first`` or ``last``, and it means other layers.

    This program's own networks call all their layers, so that none is built to find out.

    Raises:
        BadInput: if there is no such network, or it does not take images of that size.
    """
    if config.model.family not in LIBRARIES:
        return None
    images = image_facts(config)
    pixels = view_of(config, None, images.sample_shape[-1]).resolution
    model = tuple(asdict(config.model).items())
    shape = images.sample_shape[0], pixels, pixels
    counts_differ, ends_differ = _differences(model, shape, images.classes, keys_of_size(config, pixels))
    rules = dict(config.sparsity.rules or ()) if is_pruned_to_target(config) else {}
    return CURRENT if counts_differ or (ends_differ and not rules.keys().isdisjoint(ENDS)) else None


@cache
def _differences(
    model: tuple[tuple[str, Any], ...],
    sample_shape: tuple[int, int, int],
    classes: int,
    asked: tuple[tuple[str, int], ...],
) -> tuple[bool, bool]:
    """Whether the counts of weights and uses differ from format 1, and whether the first or the last layers do.

    Args:
        asked: see ``models.fit.require_fit``.
    """
    config = ModelConfig(**dict(model))
    network = build_skeleton(config, sample_shape[0], classes)
    require_fit(config.name, network, sample_shape, classes, asked)
    before = _uses_in_format_1(network, sample_shape)
    sizes = network_flops(config, sample_shape[0], classes, sample_shape[-1]).sizes
    now = {name: size.output_positions for name, size in sizes.items()}
    layers, names = prunable_layers(network), list(before)
    ends = {word: {name for name, layer in layers.items() if word in layer.words} for word in ENDS}
    return before != now, bool(names) and ends != {"first": {names[0]}, "last": {names[-1]}}


def _uses_in_format_1(model: nn.Module, sample_shape: tuple[int, int, int]) -> dict[str, int]:
    """Output positions of all calls of linear and convolution layers for one sample, by weight name.

    Args:
        model: on the meta device, in evaluation mode afterwards.
    """
    layers = [
        (f"{path}.weight", module)
        for path, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    ]
    name_of: dict[int, str] = {}
    for name, module in layers:
        name_of.setdefault(id(module.weight), name)
    uses = dict.fromkeys(name_of.values(), 0)

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        channels = output.shape[-1] if isinstance(module, nn.Linear) else output.shape[1]
        uses[name_of[id(module.weight)]] += output.numel() // channels

    hooks = [module.register_forward_hook(record) for _, module in layers]
    with torch.no_grad():
        model.eval()(torch.zeros(1, *sample_shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return uses
