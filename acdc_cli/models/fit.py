"""Whether a network takes the images of a data set, found out before anything is trained or looked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from acdc_cli.errors import BadInput, reason

BATCH = 2  # samples: batch norm cannot train on one value a channel
USUAL_SIZES = (32, 64, 96, 128, 160, 192, 224, 256, 288, 299, 320, 384, 448, 512)  # pixels, of published networks
SIZES_TRIED = 8  # the nearest of the usual ones; a pass of a large network takes about half a second


def require_fit(
    name: str,
    model: nn.Module,
    sample_shape: tuple[int, int, int],
    classes: int,
    asked: Sequence[tuple[str, int]] = (),
) -> None:
    """Raise BadInput unless the model turns a batch of such images into logits (N, classes), training or not.

    Args:
        name: what the error calls the model.
        model: best on the meta device, where a forward pass costs nothing. Its batch-norm statistics may change.
        sample_shape: (channels, height, width).
        asked: the keys that decide the size of the images, with their values; none for images of one size. See
            ``resolution.keys_of_size``.
    """
    was_training = model.training
    problem = _problem(model, sample_shape, classes)
    if problem is not None and isinstance(problem, Exception):
        raise BadInput(_misfit(name, model, sample_shape, classes, asked, reason(problem).rstrip(".")))
    if problem is not None:
        raise BadInput(f"model.name={name}: {problem}; choose a classifier")
    model.train(was_training)


def _problem(model: nn.Module, sample_shape: tuple[int, ...], classes: int) -> Exception | str | None:
    """The error of a forward pass, or what is wrong with its result, or None. Leaves the model in evaluation mode."""
    images = torch.zeros(BATCH, *sample_shape, device=next(model.parameters()).device)
    for training in (True, False):
        try:
            with torch.no_grad():
                logits = model.train(training)(images)
        except Exception as error:  # every library and every layer raises its own
            return error
        if not isinstance(logits, Tensor) or logits.shape != (BATCH, classes):
            given = f"a tensor of {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            return f"gives {given} for {BATCH} images of {classes} classes"
    return None


def _misfit(
    name: str,
    model: nn.Module,
    sample_shape: tuple[int, int, int],
    classes: int,
    asked: Sequence[tuple[str, int]],
    why: str,
) -> str:
    """The line that names the size, what asked for it, and a size that fits."""
    channels, height, width = sample_shape
    what = f"model.name={name}: cannot take images of {channels} x {height} x {width} ({why})"
    keys, values = [key for key, _ in asked], " ".join(f"{key}={value}" for key, value in asked)
    size = _size_that_fits(model, channels, height, classes)
    if size is None:
        other = f"another size than {values}" if asked else "another dataset"
        return f"{what}; choose a model for this size, or {other}"
    if not asked:
        return (
            f"{what}; choose a model for this size: this one takes {size} x {size}, which are images of "
            f"dataset=imagenet or dataset=patches with dataset.resolution={size}"
        )
    return f"{values} {what}; use {' '.join(f'{key}={size}' for key in keys)}"


def _size_that_fits(model: nn.Module, channels: int, asked: int, classes: int) -> int | None:
    """The size that the model says it was made for, or the nearest usual one, if it takes images of it."""
    nearest = sorted(set(USUAL_SIZES) - {asked}, key=lambda pixels: abs(pixels - asked))[:SIZES_TRIED]
    own = _own_size(model)
    for pixels in nearest if own in (None, asked) else [own, *nearest]:
        if _problem(model, (channels, pixels, pixels), classes) is None:
            return pixels
    return None


def _own_size(model: nn.Module) -> int | None:
    """Height of the images that a network is made for, as timm's and torchvision's networks say it."""
    config = getattr(model, "pretrained_cfg", None)
    size = config.get("input_size") if isinstance(config, dict) else None
    own = size[-1] if size else getattr(model, "image_size", None)
    return own if isinstance(own, int) else None
