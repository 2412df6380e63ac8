"""Whether a pass may be of one sample, and what to say if that cannot be trained on."""

from __future__ import annotations

import torch
from torch import nn

from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput
from acdc_cli.models.build import build_skeleton
from acdc_cli.models.inputs import ImageInputs


def require_last_batch(config: Config, inputs: ImageInputs, samples: int, pixels: int, ranks: int = 1) -> None:
    """Raise BadInput if a pass, mostly an epoch's last, has one sample and batch norm so one value a channel.

    Args:
        config: complete.
        inputs: what the model is built for.
        samples: training samples.
        pixels: the lowest resolution that is trained at.
        ranks: that a step's samples are dealt out to, and to the passes of ``accumulation``.
    """
    size, places = config.batch_size, ranks * (config.accumulation or 1)
    if config.sync_batch_norm or not _has_pass_of_one(samples, size, places):
        return
    if _trains_on_one(build_skeleton(config.model, inputs), (inputs.channels, pixels, pixels)):
        return
    larger = range(size + places, samples + 2 * places, places)
    nearest = next((other for other in larger if not _has_pass_of_one(samples, other, places)), None)
    raise BadInput(
        f"batch_size={size}: {samples} training samples leave a batch with one sample a pass, and batch norm cannot "
        f"train on one value a channel, which model={config.model.name} has at {pixels} pixels; nearest: "
        + (f"batch_size={nearest}" if nearest else "fewer ranks or passes")
    )


def _has_pass_of_one(samples: int, batch_size: int, places: int) -> bool:
    """Whether some pass has a single sample: a step's samples are dealt out evenly."""
    return batch_size < 2 * places or 0 < samples % batch_size < 2 * places


def _trains_on_one(model: nn.Module, sample_shape: tuple[int, int, int]) -> bool:
    try:
        with torch.no_grad():
            model.train()(torch.zeros(1, *sample_shape, device=next(model.parameters()).device))
    except ValueError:  # batch norm's
        return False
    return True
