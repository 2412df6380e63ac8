"""A run: what is built from a config, and what must survive a crash."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from acdc_cli.compose import allocation_of
from acdc_cli.config import Config, known
from acdc_cli.data.crops import Crops
from acdc_cli.data.input_step import Augmentation, Normalization
from acdc_cli.data.loaders import BatchLoader, open_loaders, to_device
from acdc_cli.data.order import sample_order
from acdc_cli.data.prepare import Dataset
from acdc_cli.data.view import View
from acdc_cli.errors import AcdcError
from acdc_cli.measure.flops import LayerSize, layer_sizes
from acdc_cli.measure.memory import reset_peak_memory
from acdc_cli.models import build_model
from acdc_cli.records.folder import RunFolder
from acdc_cli.resolution import view_of
from acdc_cli.schedule import timeline_of
from acdc_cli.sparsity.method import Method
from acdc_cli.sparsity.methods import ACDC, Dense, Static
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.training.checkpoint import restore_rng_state, rng_state
from acdc_cli.training.machine import autocast, gradient_scaler, seed_everything
from acdc_cli.training.optim import build_optimizer
from acdc_cli.training.start import load_start


@dataclass
class Run:
    """Everything the loop touches. ``rows`` are the finished epochs' records; their number is the position."""

    config: Config
    device: torch.device
    dataset: Dataset
    loaders: dict[str, BatchLoader]
    augment: Augmentation
    normalize: Normalization
    model: nn.Module
    forward: Any  # the model, compiled if asked for; the same parameters
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    timeline: Timeline
    method: Method
    sizes_at: dict[int, dict[str, LayerSize]]  # by resolution, as far as they have been asked for
    rows: list[dict[str, Any]]
    flops_before: int  # spent by the run that this one goes on from

    @property
    def epoch(self) -> int:
        """Epochs completed, those of the run that this one goes on from included."""
        return (self.config.first_epoch or 0) + len(self.rows)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; the last batch may be smaller."""
        return -(-self.loaders["train"].count // self.config.batch_size)

    def view(self, epoch: int | None) -> View:
        """How an epoch sees its images; None: validation."""
        return view_of(self.config, epoch, self.dataset.sample_shape[-1])

    def sizes(self, epoch: int | None = None) -> dict[str, LayerSize]:
        """The layers' sizes at an epoch's training resolution; None: at that of evaluation."""
        resolution = self.view(epoch).resolution
        if resolution not in self.sizes_at:
            self.sizes_at[resolution] = layer_sizes(self.model, (self.dataset.sample_shape[0], resolution, resolution))
        return self.sizes_at[resolution]

    def train_batches(self, epoch: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Augmented, normalised batches of an epoch, in its own order."""
        order = sample_order(self.config.seed, epoch, self.loaders["train"].count)
        with closing(self.loaders["train"].batches(order, self.view(epoch))) as batches:
            for images, labels, samples in to_device(batches, self.device):
                yield self.normalize(self.augment(images, samples, epoch)), labels

    def val_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised batches of the whole validation set."""
        order = np.arange(self.loaders["val"].count)
        with closing(self.loaders["val"].batches(order, self.view(None))) as batches:
            for images, labels, _ in to_device(batches, self.device):
                yield self.normalize(images), labels

    def predict(self, images: Tensor) -> Tensor:
        """Logits under the run's precision."""
        with autocast(self.config):
            return self.forward(images)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which ``load_state_dict`` goes on bit for bit."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "method": self.method.state_dict(),
            "rows": self.rows,
            "rng": rng_state(self.device),
            "data": self.dataset.info["content_hash"],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Raises AcdcError if it was trained on other data."""
        if state["data"] != self.dataset.info["content_hash"]:
            raise AcdcError(
                f"{self.dataset.folder}: not the data that this run began with; run.overwrite=true starts over"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.method.load_state_dict(state["method"])
        self.rows = state["rows"]
        restore_rng_state(state["rng"], self.device)


def build_method(config: Config, timeline: Timeline) -> Method:
    """The sparse method of a complete config, not yet attached."""
    if config.method.name == "dense":
        return Dense()
    if config.method.name == "static":
        return Static()
    return ACDC(timeline, allocation_of(config), reset_moments=bool(config.method.reset_moments))


def _crops(config: Config) -> Crops | None:
    """How image files are cropped; None for a set of arrays, which has no such keys."""
    dataset = config.dataset
    if dataset.resolution is None:
        return None
    return Crops(config.seed, known(dataset.crop_scale_min), known(dataset.resize_ratio))


def build_run(config: Config, dataset: Dataset) -> Run:
    """Build a run at epoch 0 from a settled config. Raises ValueError if model and sparsity do not fit."""
    seed_everything(config)
    device = torch.device(config.device)
    reset_peak_memory(device)
    if config.precision.compile:
        torch.compiler.reset()  # runs of a sweep share their code objects, and the limit of recompilations with them
    model = build_model(config.model, dataset.sample_shape[0], dataset.classes)
    memory_format = torch.channels_last if config.precision.channels_last else torch.contiguous_format
    if config.start_from is not None:
        load_start(model, config)
    model = model.to(device).to(memory_format=memory_format)
    optimizer = build_optimizer(config.optimizer, model, config.precision.dtype)
    timeline = timeline_of(config)
    return Run(
        config=config,
        device=device,
        dataset=dataset,
        loaders=open_loaders(
            config.loader,
            dataset,
            config.batch_size,
            config.workers,
            device,
            _crops(config),
            config.os_cache is not False,
        ),
        augment=Augmentation(config.dataset.crop_padding or 0, config.dataset.flip, config.seed),
        normalize=Normalization(dataset.info["mean"], dataset.info["std"], config.precision.channels_last),
        model=model,
        forward=torch.compile(model) if config.precision.compile else model,
        optimizer=optimizer,
        scaler=gradient_scaler(config),
        timeline=timeline,
        method=build_method(config, timeline).attach(model, optimizer),
        sizes_at={},
        rows=[],
        flops_before=RunFolder(Path(str(config.start_from))).read_result()["train_flops_total"]
        if config.finetune
        else 0,
    )
