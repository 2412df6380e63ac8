"""The number of the record format, which enters a run's id where records of its network count something else now."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from acdc_cli.config.schema import Config, is_pruned_to_target, plain
from acdc_cli.measure.network import network_flops
from acdc_cli.models.build import build_skeleton
from acdc_cli.parts import MODELS
from acdc_cli.sparsity.prunable import prunable_layers

CURRENT = 2
ENDS = ("first", "last")  # words of sparsity.rules
_known: dict[tuple[str, Any, Any], tuple[bool, bool]] = {}  # a table settles many configs of one network


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
    if not MODELS.part(config.model.family).facts.is_library:
        return None
    task = config.task.options
    inputs = task.inputs(config, None)
    size = task.example_size(config, inputs, None)
    key = json.dumps([config.task.name, plain(config.model)], sort_keys=True), inputs, size
    if key not in _known:
        _known[key] = _differences(config, inputs, size)
    counts_differ, ends_differ = _known[key]
    rules = dict(config.sparsity.rules or ()) if is_pruned_to_target(config) else {}
    return CURRENT if counts_differ or (ends_differ and not rules.keys().isdisjoint(ENDS)) else None


def _differences(config: Config, inputs: Any, size: Any) -> tuple[bool, bool]:
    """Return whether counts of weights and uses differ from format 1, and whether the first or the last layers do."""
    task, network = config.task.options, build_skeleton(config.model, inputs)
    task.check_model(config, inputs, network)
    before = _uses_in_format_1(network, task.example(inputs, size))
    now = {name: layer.output_positions for name, layer in network_flops(config, inputs, size).sizes.items()}
    layers, names = prunable_layers(network), list(before)
    ends = {word: {name for name, layer in layers.items() if word in layer.words} for word in ENDS}
    return before != now, bool(names) and ends != {"first": {names[0]}, "last": {names[-1]}}


def _uses_in_format_1(model: nn.Module, example: tuple[Any, ...]) -> dict[str, int]:
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
        model.eval()(*example)
    for hook in hooks:
        hook.remove()
    return uses
