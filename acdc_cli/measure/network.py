"""The FLOPs of a configured network, counted once for each resolution."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from acdc_cli.config.schema import ModelConfig
from acdc_cli.measure.flops import ForwardFlops, forward_flops
from acdc_cli.models import build_skeleton


def network_flops(config: ModelConfig, in_channels: int, classes: int, pixels: int) -> ForwardFlops:
    """``forward_flops`` of the network that a config describes, on the meta device.

    The result is kept for the length of the process, because a table plans many runs of one network; do not change it.

    Args:
        pixels: height and width of the images.
    """
    return _counted(tuple(asdict(config).items()), in_channels, classes, pixels)


@cache
def _counted(model: tuple[tuple[str, Any], ...], in_channels: int, classes: int, pixels: int) -> ForwardFlops:
    skeleton = build_skeleton(ModelConfig(**dict(model)), in_channels, classes)
    return forward_flops(skeleton, (in_channels, pixels, pixels))
