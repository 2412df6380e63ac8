"""The end of a run: both models on disk, evaluated, compared; result.json."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import update_bn

import acdc_cli
from acdc_cli.config.schema import is_pruned_to_target
from acdc_cli.measure.best import best_epoch
from acdc_cli.measure.dynamics import dead_channels
from acdc_cli.measure.flops import inference_flops, nonzeros
from acdc_cli.plugins import imported_plugins
from acdc_cli.ranks import ONE_RANK
from acdc_cli.records.epoch_row import metric_of
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.headline import as_record
from acdc_cli.records.run_result import Agreement, ModelResult, PluginRecord, RunResult
from acdc_cli.sparsity.coverage import prunable_by_kind
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import model_state
from acdc_cli.sparsity.prunable import prunable_layers, prunable_weights, weight_layouts
from acdc_cli.sparsity.rules import excluded
from acdc_cli.training.checkpoint import cannot_write
from acdc_cli.training.loop import evaluate
from acdc_cli.training.machine import autocast
from acdc_cli.training.run import Run

KINDS = ("sparse", "dense")
VERSIONS_OF = ("torch", "torchvision", "hydra-core", "omegaconf", "wandb", "ffcv", "numpy", "safetensors")


def save_tensors(folder: RunFolder, path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file of a run whole. Tensors are made contiguous: the format knows no channels_last."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        folder.replace(path, lambda temporary: save_file(plain, temporary, metadata))
    except SafetensorError as error:
        raise cannot_write(path, error) from None


def save_masks(folder: RunFolder, path: Path, masks: MaskSet) -> None:
    """One packed uint8 tensor a weight (see ``sparsity.masks.pack``), its shape as JSON in the metadata."""
    shapes = {name: json.dumps(list(mask.shape)) for name, mask in masks.items()}
    save_tensors(folder, path, masks.state_dict(), shapes)


def finish(run: Run, folder: RunFolder, run_id: str) -> RunResult:
    """Write the models and masks, evaluate each model as written, and return the content of result.json.

    All ranks evaluate; the first one writes.
    """
    outputs = run.method.outputs()
    sections: dict[str, ModelResult | None] = dict.fromkeys(KINDS)
    compared: dict[str, Any] = {}
    left: dict[str, int] = {}
    for kind in KINDS:
        if (state := outputs[kind]) is None:
            continue
        if kind == "sparse" and run.config.bn_recalibration:
            state = _recalibrated(run, state)
        if run.group.is_first:
            save_tensors(folder, folder.model(kind), state, input_metadata(run))
        run.model.load_state_dict(state)
        measured, compared[kind] = evaluate(run, keep=True)
        left = left or nonzeros(run.model)  # of the sparse model, or of the only one
        sections[kind] = cast(ModelResult, measured | model_size(run) | _best(run, kind))
    if run.method.masks is not None and run.group.is_first:
        save_masks(folder, folder.models / "masks.safetensors", run.method.masks)
    both = None
    if len(compared) == len(KINDS):
        both = run.task.agreement(compared["sparse"], compared["dense"], run.group.joined)
    return _result(run, run_id, sections, both, left)


def _recalibrated(run: Run, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with batch-norm statistics that are means over one pass of training batches, at the weights it has.

    Every rank goes through all of them, so that the statistics do not depend on the number of ranks.
    """
    run.model.load_state_dict(state)
    epoch = run.epoch - 1
    batches = run.feed.train_batches(epoch, run.epoch_batches(epoch, ONE_RANK))
    with autocast(run.config), closing(batches):
        update_bn(batches, run.model)
    return model_state(run.model)


def input_metadata(run: Run) -> dict[str, str]:
    """How the model wants its input, for whoever loads it without this program."""
    return {"format": "pt", **run.task.model_metadata(run.data)}


def model_size(run: Run) -> dict[str, Any]:
    """Return how much of the model is zero (for a dense model: AC/DC, Table 8), and what it costs."""
    left, forward, weights = nonzeros(run.model), run.forward_flops(), prunable_weights(run.model)
    prunable = sum(weight.numel() for weight in weights.values())
    flops, dense = inference_flops(forward.sizes, left), inference_flops(forward.sizes)
    return {
        "sparsity": (prunable - sum(left[name] for name in weights)) / prunable,
        "dead_channels": sum(dead_channels(weights, weight_layouts(run.model)).values()),
        "inference_flops": flops,
        "inference_flops_fraction": flops / dense,
        "attention_flops": forward.attention,
        "uncovered_flops": forward.uncovered,
    }


def _best(run: Run, kind: str) -> dict[str, Any]:
    """Return the best epoch of a phase kind; None for a kind that no epoch was of."""
    headline = run.task.headline
    best = best_epoch(run.rows, kind, headline)
    value = None if best is None else metric_of(best, headline.val_key)
    return {f"best_{headline.val_key}": value, "best_epoch": None if best is None else best["epoch"]}


def _result(
    run: Run, run_id: str, sections: dict[str, ModelResult | None], both: Agreement | None, left: dict[str, int]
) -> RunResult:
    config, rows = run.config, run.rows
    weights = {name: weight.numel() for name, weight in prunable_weights(run.model).items()}
    prunable, kept = sum(weights.values()), sum(left[name] for name in weights)
    pruned = {name: count for name, count in weights.items() if name not in excluded(run.method.shares)}
    samples_seen = run.samples * len(rows)
    # A dense run's forward passes at the same resolutions; fine-tuning: over the whole schedule.
    dense_run = sum(inference_flops(run.sizes(epoch)) for epoch in range(run.epoch)) * run.samples
    sparsity = config.sparsity if is_pruned_to_target(config) else None
    dense_flops, seconds = inference_flops(run.sizes()), sum(row["seconds"] for row in rows)
    train_seconds = sum(run.samples / row["samples_per_second"] for row in rows)
    return {
        "run_id": run_id,
        "method": config.method.name,
        "model": config.model.name,
        "dataset": config.dataset.name,
        "task": config.task.name,
        "headline": as_record(run.task.headline),
        "seed": config.seed,
        "epochs": run.epoch,
        "sparsity_target": None if sparsity is None else sparsity.target,
        "distribution": None if sparsity is None else sparsity.distribution,
        "block": None if sparsity is None else sparsity.block,
        "rules": None if sparsity is None else sparsity.rules,
        "sparsity": (prunable - kept) / prunable,
        "sparsity_of_pruned_layers": 1 - sum(left[name] for name in pruned) / sum(pruned.values()),
        "prunable_weights": prunable,
        "prunable_by_kind": prunable_by_kind(prunable_layers(run.model, embeddings=True), run.method.shares),
        "nonzero_weights": kept,
        "sparse": sections["sparse"],
        "dense": sections["dense"],
        "dense_inference_flops": dense_flops,
        "train_samples": run.samples,
        "train_flops_total": rows[-1]["train_flops_total"],
        "train_flops_fraction": rows[-1]["train_flops_total"] / (3 * dense_run),
        "agreement": both,
        "seconds": seconds,
        "seconds_before": run.seconds_before,
        "samples_per_second": samples_seen / train_seconds,
        "peak_memory_bytes": max(row["peak_memory_bytes"] for row in rows),
        "layer_sparsity": rows[-1]["layer_sparsity"],
        "versions": _versions(),
        "git_commit": _git_commit(),
        "plugins": [PluginRecord(name=each.name, file=each.file, sha256=each.sha256) for each in imported_plugins()],
        "started_from": config.start_from,
        "finetuned": config.finetune is not None,
        "dataset_hash": run.data.content_hash,
        "device": torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else "cpu",
    }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"acdc_cli": acdc_cli.__version__}
    for package in VERSIONS_OF:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _git_commit() -> str | None:
    """The commit that this program runs from, if it runs from its repository."""
    root = Path(acdc_cli.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
