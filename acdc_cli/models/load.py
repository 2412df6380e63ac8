"""The models of finished runs."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from acdc_cli.config.schema import Config
from acdc_cli.errors import AcdcError, DataMissing, not_a_choice, reason
from acdc_cli.models.build import build_model
from acdc_cli.records.folder import MODELS, RunFolder


def load_model(run: str | Path, kind: str = "sparse") -> nn.Module:
    """A model of a finished run, with its weights, in eval mode, on the CPU.

    Args:
        run: its folder.
        kind: ``sparse`` or ``dense``; of a run with ``keep_best=true`` also ``sparse_best`` or ``dense_best``.

    Raises:
        BadInput: on a folder that is no run, or a kind that there is not.
        DataMissing: if the run has no such model, or its file is damaged.
        AcdcError: if its config is damaged.
    """
    from acdc_cli.config.stored import read_config

    if kind not in MODELS:
        raise not_a_choice("model", kind, MODELS)
    folder = RunFolder.open(run)
    config, (state, built_for) = read_config(folder), read_model_file(folder, kind)
    try:
        return _loaded(config, state, built_for)
    except (RuntimeError, ValueError, KeyError, StopIteration) as error:
        path = folder.model(kind)
        raise DataMissing(
            f"{path}: not weights of the model in {folder.config} ({reason(error)}); {folder.remedy}"
        ) from None


def _loaded(config: Config, state: dict[str, Tensor], built_for: dict[str, str]) -> nn.Module:
    model = build_model(config.model, config.task.options.inputs_of_model(config, built_for))
    weights = next(tensor for tensor in state.values() if tensor.is_floating_point())
    model.to(weights.dtype).load_state_dict(state)  # float64 of precision=fp64 stays that
    return model.eval()


def _why_missing(folder: RunFolder, kind: str) -> str:
    if not folder.is_marked_done:
        return f"the run is not done: {folder.reason()}"
    if folder.sums.knows(folder.model(kind)):
        return folder.remedy
    return "the run was made without keep_best=true" if kind.endswith("_best") else f"its method makes no {kind} model"


def read_model_file(folder: RunFolder, kind: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a run's model, as they were written.

    Raises:
        DataMissing: if there is no such model, or its file is damaged.
    """
    from acdc_cli.records.tensors import read_tensors

    path = folder.model(kind)
    if not path.exists():
        raise DataMissing(f"{path}: missing; {_why_missing(folder, kind)}")
    try:
        folder.sums.check(path, folder.remedy)
        return read_tensors(path)
    except ValueError as error:
        raise DataMissing(f"{path}: damaged ({error}); {folder.remedy}") from None
    except AcdcError as error:
        raise DataMissing(str(error)) from None
