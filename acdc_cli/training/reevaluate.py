"""Evaluate a finished run's model again, from the files it left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acdc_cli.config.schema import Config, known
from acdc_cli.data.find import open_dataset
from acdc_cli.data.options import options_of
from acdc_cli.data.source import source_of
from acdc_cli.errors import BadInput
from acdc_cli.measure.accuracy import agreement
from acdc_cli.models import load_model, read_model_file
from acdc_cli.parts import DATASETS
from acdc_cli.records.checksums import REMEDY
from acdc_cli.records.configs import read_config, require_same_run
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.training.finish import model_size
from acdc_cli.training.loop import evaluate
from acdc_cli.training.machine import settle
from acdc_cli.training.run import build_run


def pair_agreement(sparse_run: RunFolder, dense_run: RunFolder) -> dict[str, float]:
    """How far the sparse model of one run agrees with the dense model of another, as ``measure.accuracy.agreement``.

    Both see the validation images as the first run did: AC/DC's Table 14 compares with a dense model that was
    fine-tuned, or trained by itself.

    Raises:
        DataMissing: if a model or the data are not there.
    """
    config = _evaluation_config(sparse_run)
    keys, content_hash = options_of(config.dataset), config.dataset.content_hash
    dataset = open_dataset(config.dataset.name, config.data_dir, options=keys, content_hash=content_hash)
    config.loader = "torch" if dataset.kind == "arrays" else config.loader
    run = build_run(settle(config, lambda line: None), dataset)
    logits = list[Tensor]()
    for folder, kind in ((sparse_run, "sparse"), (dense_run, "dense")):
        run.model.load_state_dict(load_model(folder.path, kind).state_dict())
        logits.append(known(evaluate(run, keep_logits=True)[1]))
    return agreement(logits[0], logits[1])


def _evaluation_config(folder: RunFolder) -> Config:
    config = read_config(folder)
    config.device = "auto"
    config.precision.compile = False  # one pass over the data is over before a compilation is
    config.method.name, config.start_from, config.finetune = "dense", None, None  # the weights are all that is needed
    return config


def _normalization(folder: RunFolder, kind: str, metadata: dict[str, str]) -> tuple[list[float], list[float]]:
    """Mean and deviation that the model's training images were normalised with, as its file says."""
    try:
        mean, std = (json.loads(metadata[key]) for key in ("mean", "std"))
        return [float(each) for each in mean], [float(each) for each in std]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise Damaged(
            folder.models / f"{kind}.safetensors", "no mean and std of the training images in it", REMEDY
        ) from None


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
    if result["dataset"] not in DATASETS.names():
        raise Damaged(folder.result, f"its data set is {result['dataset']!r}", REMEDY)
    require_same_run(folder, read_config(folder), result["run_id"])
    config = _evaluation_config(folder)
    if dataset_name is not None:
        DATASETS.part(dataset_name, "--dataset")
        if dataset_name != config.dataset.name:
            config.dataset.source = config.dataset.content_hash = None  # of the set that the model was trained on
        config.dataset.name = dataset_name
    model = load_model(run_path, kind)
    keys, content_hash = options_of(config.dataset), config.dataset.content_hash
    dataset = open_dataset(config.dataset.name, data_dir or config.data_dir, options=keys, content_hash=content_hash)
    trained_with = read_model_file(folder, kind)[1]
    mean, std = _normalization(folder, kind, trained_with)
    if "channels" in trained_with:
        expected = int(trained_with["channels"]), int(trained_with["classes"])
    else:  # the run is older than its model's two words
        trained_on = source_of(result["dataset"])
        expected = known(trained_on.sample_shape)[0], known(trained_on.classes)
    found = (dataset.sample_shape[0], dataset.classes)
    if expected != found:
        raise BadInput(
            f"--dataset {dataset.name}: {found[0]} channels and {found[1]} classes; the model has {expected[0]} and "
            f"{expected[1]}; nearest: --dataset {result['dataset']}"
        )
    # Arrays are the same from every loader; a .beton's images were encoded once more, so the run's own loader it is.
    config.loader = "torch" if dataset.kind == "arrays" else config.loader
    run = build_run(settle(config, lambda line: None), dataset)
    run.model.load_state_dict(model.state_dict())
    # Another set's images are normalised as the training set's were.
    run.normalize = replace(run.normalize, mean=mean, std=std)
    measured, _ = evaluate(run)
    return {
        "run": str(folder.path),
        "model": kind,
        "dataset": dataset.name,
        **measured,
        **model_size(run),
        "device": str(torch.device(run.device)),
    }
