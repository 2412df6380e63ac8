"""Models: plain torch, published key names."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from acdc_cli.errors import DataMissing, not_a_choice
from acdc_cli.models.families import build_model, build_skeleton

__all__ = ["build_model", "build_skeleton", "load_model"]


def load_model(run: str | Path, kind: str = "sparse") -> nn.Module:
    """A model of a finished run, with its weights, in eval mode, on the CPU.

    Args:
        run: its folder.
        kind: ``sparse`` or ``dense``; of a run with ``keep_best=true`` also ``sparse_best`` or ``dense_best``.

    Raises:
        BadInput: on a folder that is no run, or a kind that there is not.
        DataMissing: if the run has no such model.
    """
    from acdc_cli.compose import from_yaml
    from acdc_cli.data.sources import SOURCES
    from acdc_cli.records.folder import MODELS, RunFolder

    if kind not in MODELS:
        raise not_a_choice("model", kind, MODELS)
    folder = RunFolder.open(run)
    path = folder.model(kind)
    config = from_yaml(folder.config.read_text())
    try:
        state = load_file(path)
        with safe_open(path, framework="pt") as file:
            built_for = file.metadata() or {}
    except (FileNotFoundError, SafetensorError) as error:
        why = "was made without keep_best=true" if kind.endswith("_best") else f"whose method has no {kind} model"
        raise DataMissing(f"{path}: {error}; a run that is not done, or {why}") from None
    usual = SOURCES[config.dataset.name]  # of a run that is older than these two words
    channels = int(built_for.get("channels", usual.sample_shape[0]))
    model = build_model(config.model, channels, int(built_for.get("classes", usual.classes)))
    weights = next(tensor for tensor in state.values() if tensor.is_floating_point())
    model.to(weights.dtype).load_state_dict(state)  # float64 of precision=fp64 stays that
    return model.eval()
