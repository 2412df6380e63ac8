"""From a settled config and its data to a run at epoch 0."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acdc_cli.config.schedule import timeline_of
from acdc_cli.config.schema import Config, SettledConfig
from acdc_cli.measure.memory import reset_peak_memory
from acdc_cli.models.build import build_model
from acdc_cli.planning.method_setting import method_setting
from acdc_cli.planning.start import load_start
from acdc_cli.planning.start_file import goes_on_from_a_run
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.run_result import RunResult
from acdc_cli.sparsity.coverage import UncoveredWeights
from acdc_cli.sparsity.method import Method
from acdc_cli.tasks import Data
from acdc_cli.training.gradient_passes import gradient_passes
from acdc_cli.training.group import ALONE, Group
from acdc_cli.training.machine import WEIGHT_DTYPE, device_of, gradient_scaler, prepare_torch
from acdc_cli.training.optim import build_optimizer
from acdc_cli.training.run import Run


def _attached(method: Method, model: nn.Module, optimizer: torch.optim.Optimizer) -> Method:
    """Attach without the warning of uncovered weights, which a run prints as a line of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncoveredWeights)
        return method.attach(model, optimizer)


def _run_before(config: Config) -> RunResult | None:
    """The result of the run whose cost is part of this one's; None if there is none."""
    if config.finetune or goes_on_from_a_run(config):
        return RunFolder(Path(str(config.start_from))).read_result()
    return None


def build_run(
    config: SettledConfig, data: Data, group: Group = ALONE, say: Callable[[str], None] = warnings.warn
) -> Run:
    """Build a run at epoch 0 from a settled config. Raises ValueError if model and sparsity do not fit."""
    prepare_torch(config, group.ranks)
    device = device_of(config, group.ranks)
    reset_peak_memory(device)
    if config.precision.compile:
        torch.compiler.reset()  # runs of a sweep share their code objects, and the limit of recompilations with them
    task = config.task.options
    inputs = task.inputs(config, data)
    model = build_model(config.model, inputs)
    memory_format = torch.channels_last if config.precision.channels_last else torch.contiguous_format
    if config.start_from is not None:
        load_start(model, config)
    dtype = WEIGHT_DTYPE.get(config.precision.dtype, torch.float32)
    model = model.to(device, dtype).to(memory_format=memory_format)
    if config.sync_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    optimizer = build_optimizer(config.optimizer, model, config.precision.dtype)
    timeline = timeline_of(config)
    feed = task.open(config, data, device, dtype)
    # A method takes its own passes at an epoch's beginning, when there is a run to take them from.
    setting = method_setting(config, data.count("train"), lambda *batches: gradient_passes(run, *batches), say)
    method = config.method.options.build(setting)
    before = _run_before(config)
    parallel = group.parallel(model, device)
    compiled: Callable[[nn.Module], Any] = torch.compile if config.precision.compile else lambda module: module
    forward = compiled(model)
    run = Run(
        config=config,
        group=group,
        device=device,
        task=task,
        data=data,
        feed=feed,
        inputs=inputs,
        model=model,
        forward=forward,
        train_forward=forward if parallel is model else compiled(parallel),
        optimizer=optimizer,
        scaler=gradient_scaler(config),
        timeline=timeline,
        method=_attached(method, model, optimizer),
        rows=[],
        part=None,
        flops_before=0 if before is None else before["train_flops_total"],
        seconds_before=0.0 if before is None else before["seconds"],
    )
    return run
