"""The FLOPs of a configured network, counted once for each resolution."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from acdc_cli.config.schema import ModelConfig
from acdc_cli.measure.flops import ForwardFlops, forward_flops
from acdc_cli.models import build_skeleton


def network_flops(config: ModelConfig, in_channels: int, classes: int, pixels: int) -> ForwardFlops:
    """Return ``forward_flops`` of the network that a config describes, counted on the meta device.

    The result is cached for the lifetime of the process, because a results table plans many runs of one network.
    Callers must not change the result.

    Args:
        config: the model's config.
        in_channels: channels of the images.
        classes: number of classes.
        pixels: height and width of the images.
    """
    return _counted(tuple(asdict(config).items()), in_channels, classes, pixels)


@cache
def _counted(model: tuple[tuple[str, Any], ...], in_channels: int, classes: int, pixels: int) -> ForwardFlops:
    skeleton = build_skeleton(ModelConfig(**dict(model)), in_channels, classes)
    return forward_flops(skeleton, (in_channels, pixels, pixels))
