"""Whether a network takes the images of a data set, found out before anything is trained or looked for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acdc_cli.errors import BadInput

BATCH = 2  # samples: batch norm cannot train on one value a channel


def require_fit(name: str, model: nn.Module, sample_shape: tuple[int, ...], classes: int) -> None:
    """Raise BadInput unless the model turns a batch of such images into logits (N, classes), training or not.

    Args:
        name: what the error calls the model.
        model: best on the meta device, where a forward pass costs nothing. Its batch-norm statistics may change.
        sample_shape: (channels, height, width).
    """
    channels, height, width = sample_shape
    images = torch.zeros(BATCH, *sample_shape, device=next(model.parameters()).device)
    was_training = model.training
    for training in (True, False):
        try:
            with torch.no_grad():
                logits = model.train(training)(images)
        except Exception as error:  # every library and every layer raises its own
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BadInput(
                f"model.name={name}: cannot take images of {channels} x {height} x {width} ({reason}); "
                "choose a model for this size, or another dataset"
            ) from None
        if not isinstance(logits, Tensor) or logits.shape != (BATCH, classes):
            given = f"a tensor of {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise BadInput(
                f"model.name={name}: gives {given} for {BATCH} images of {classes} classes; choose a classifier"
            )
    model.train(was_training)
