"""Models: plain torch, published key names."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from acdc_cli.config import ModelConfig
from acdc_cli.errors import DataMissing, not_a_choice
from acdc_cli.models.resnet import ResNet

FAMILIES = {"cifar_resnet": ResNet}


def build_model(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    """A freshly initialised model for images of that many channels."""
    family = FAMILIES[config.family]
    return family(config.depth, config.width, in_channels=in_channels, classes=classes, shortcut=config.shortcut)


def load_model(run: str | Path, kind: str = "sparse") -> nn.Module:
    """The sparse or the dense model of a finished run, with its weights, in eval mode, on the CPU.

    Raises:
        BadInput: on a folder that is no run, or a kind that is neither "sparse" nor "dense".
        DataMissing: if the run has no such model.
    """
    from acdc_cli.compose import from_yaml
    from acdc_cli.records.folder import RunFolder

    if kind not in ("sparse", "dense"):
        raise not_a_choice("model", kind, ("sparse", "dense"))
    folder = RunFolder.open(run)
    path = folder.models / f"{kind}.safetensors"
    config = from_yaml(folder.config.read_text())
    try:
        state = load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise DataMissing(f"{path}: {error}; a run that is not done, or whose method has no {kind} model") from None
    model = build_model(config.model, state["conv1.weight"].shape[1], len(state["fc.weight"]))
    model.load_state_dict(state)
    return model.eval()
