"""Evaluate a finished run's model again, from the files it left."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acdc_cli.config.compose import compose_config, dense_method
from acdc_cli.config.schema import Config, DatasetConfig, plain
from acdc_cli.config.stored import read_config, require_same_run
from acdc_cli.models.load import load_model, read_model_file
from acdc_cli.parts import DATASETS
from acdc_cli.planning.settle import settle
from acdc_cli.records.checksums import REMEDY
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.training.build import build_run
from acdc_cli.training.finish import model_size
from acdc_cli.training.loop import evaluate
from acdc_cli.training.run import Run


def pair_agreement(sparse_run: RunFolder, dense_run: RunFolder) -> dict[str, float]:
    """How far the sparse model of one run agrees with the dense model of another, as ``measure.accuracy.agreement``.

    Both see the validation images as the first run did: AC/DC's Table 14 compares with a dense model that was
    fine-tuned, or trained by itself.

    Raises:
        DataMissing: if a model or the data are not there.
    """
    config = _evaluation_config(read_config(sparse_run))
    run = _run_on(config, config.data_dir)
    kept = list[Any]()
    for folder, kind in ((sparse_run, "sparse"), (dense_run, "dense")):
        run.model.load_state_dict(load_model(folder.path, kind).state_dict())
        kept.append(evaluate(run, keep=True)[1])
    agreement: dict[str, float] = run.task.agreement(kept[0], kept[1], Tensor.cpu)
    return agreement


def _other_dataset(config: Config, name: str) -> DatasetConfig:
    """Return another data set with the keys that it shares with the run's own, and else those of its YAML."""
    part = DATASETS.part(name, "--dataset")
    own = {entry.name for entry in fields(part.options)} - {*part.facts.content_keys}
    shared = {key: value for key, value in plain(config.dataset).items() if key in own}
    usual = compose_config([f"dataset={name}"]).dataset.options
    return DatasetConfig(name=name, content_hash=None, options=replace(usual, **shared))


def _run_on(config: Config, data_dir: str | Path) -> Run:
    """Return a run that only evaluates, on the data of its config."""
    task = config.task.options
    data = task.prepared(replace(config, data_dir=str(data_dir), loader="torch"), warnings.warn)
    config = replace(config, loader=task.evaluation_loader(config, data))
    return build_run(settle(config, lambda line: None), data)


def _evaluation_config(config: Config) -> Config:
    return replace(
        config,
        device="auto",
        precision=replace(config.precision, compile=False),  # one pass over the data is over before a compilation is
        method=dense_method(),  # the weights are all that is needed
        start_from=None,
        finetune=None,
    )


def reevaluate(run_path: Path, kind: str | None, dataset_name: str | None, data_dir: Path | None) -> dict[str, Any]:
    """Validation loss, top-1, top-5, sparsity and FLOPs of a run's model.

    The run's own precision and threads are used, on this machine's device and without torch.compile.

    Raises:
        BadInput: on a folder that is no finished run, or a data set that the model does not fit.
        DataMissing: if the model or the data are not there.
    """
    folder = RunFolder.open(run_path)
    result = folder.read_result()
    kind = kind or ("sparse" if result["sparse"] is not None else "dense")
    config = read_config(folder)
    require_same_run(folder, config, result["run_id"])
    if result["dataset"] != config.dataset.name:
        raise Damaged(folder.result, f"its data set is {result['dataset']!r}", REMEDY)
    config = _evaluation_config(config)
    if dataset_name is not None and dataset_name != config.dataset.name:
        config = replace(config, dataset=_other_dataset(config, dataset_name))
    model, trained_with = load_model(run_path, kind), read_model_file(folder, kind)[1]
    run = _run_on(config, data_dir or config.data_dir)
    dtype = next(model.parameters()).dtype
    try:
        run.feed = run.task.open_as_trained(run.config, run.data, run.device, dtype, trained_with)
    except ValueError as error:
        raise Damaged(folder.model(kind), str(error), REMEDY) from None
    run.model.load_state_dict(model.state_dict())
    measured, _ = evaluate(run)
    return {
        "run": str(folder.path),
        "model": kind,
        "dataset": run.data.name,
        **measured,
        **model_size(run),
        "device": str(torch.device(run.device)),
    }
