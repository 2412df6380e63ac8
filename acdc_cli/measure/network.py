"""The FLOPs of a configured network, counted once for each size of its samples."""

from __future__ import annotations

import json
from typing import Any

from acdc_cli.config.schema import Config, plain
from acdc_cli.measure.flops import ForwardFlops, forward_flops_of
from acdc_cli.models.build import build_skeleton

_counted: dict[tuple[str, Any, Any], ForwardFlops] = {}


def network_flops(config: Config, inputs: Any, size: Any) -> ForwardFlops:
    """Return the FLOPs of a config's network on one sample, counted on the meta device.

    The result is cached for the lifetime of the process, because a results table plans many runs of one network.
    Callers must not change the result.

    Args:
        config: the task and the model are read.
        inputs: the facts about the data for which the task builds a model.
        size: size of a sample, from the task's ``example_size``.
    """
    key = json.dumps([config.task.name, plain(config.model)], sort_keys=True), inputs, size
    if key not in _counted:
        skeleton = build_skeleton(config.model, inputs)
        _counted[key] = forward_flops_of(skeleton, *config.task.options.example(inputs, size))
    return _counted[key]
