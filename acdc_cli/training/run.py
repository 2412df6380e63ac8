"""A run: what is built from a config, and what must survive a crash."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from acdc_cli.config.resolution import view_of
from acdc_cli.config.schedule import timeline_of
from acdc_cli.config.schema import Config, known
from acdc_cli.data.batches import MicroBatch, evaluation_batches, training_batches
from acdc_cli.data.crops import Crops
from acdc_cli.data.input_step import Augmentation, Normalization
from acdc_cli.data.loaders import BatchLoader, open_loaders, to_device
from acdc_cli.data.order import sample_order, windowed_order
from acdc_cli.data.prepare import Dataset
from acdc_cli.data.view import View
from acdc_cli.errors import AcdcError
from acdc_cli.measure.flops import ForwardFlops, LayerSize
from acdc_cli.measure.memory import reset_peak_memory
from acdc_cli.measure.network import network_flops
from acdc_cli.methods import build_method
from acdc_cli.models import build_model
from acdc_cli.ranks import Ranks
from acdc_cli.records.folder import RunFolder
from acdc_cli.sparsity.coverage import UncoveredWeights
from acdc_cli.sparsity.method import Method
from acdc_cli.sparsity.prunable import prunable_weights
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.training.fisher_passes import fisher_passes
from acdc_cli.training.group import ALONE, Group
from acdc_cli.training.machine import WEIGHT_DTYPE, autocast, device_of, gradient_scaler, prepare_torch
from acdc_cli.training.optim import build_optimizer
from acdc_cli.training.start import load_start
from acdc_cli.training.start_file import goes_on_from_a_run
from acdc_cli.training.state_check import check_optimizer_state, check_state


@dataclass
class Part:
    """What of an epoch is behind us: the position inside it, and the sums that its record is made of."""

    step: int  # steps done
    loss_sum: Tensor  # of this rank's samples
    correct: Tensor
    seconds: float
    starved: dict[str, int] | None


@dataclass
class Run:
    """Everything the loop touches. ``rows`` are the finished epochs' records; with ``part`` they are the position."""

    config: Config
    group: Group
    device: torch.device
    dataset: Dataset
    loaders: dict[str, BatchLoader]
    augment: Augmentation
    normalize: Normalization
    model: nn.Module
    forward: Any  # the model, compiled if asked for; the same parameters
    train_forward: Any  # the same, with its gradients averaged over the ranks
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    timeline: Timeline
    method: Method
    rows: list[dict[str, Any]]
    part: Part | None  # None: between two epochs
    flops_before: int  # spent by the run that this one goes on from
    seconds_before: float
    extra_flops: int = 0  # of the epoch's passes that are no part of a step

    @property
    def epoch(self) -> int:
        """Epochs completed, those of the run that this one goes on from included."""
        return (self.config.first_epoch or 0) + len(self.rows)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; the last batch may be smaller."""
        return -(-self.loaders["train"].count // self.config.batch_size)

    @property
    def steps_done(self) -> int:
        """Optimizer steps completed, those of the run that this one goes on from included."""
        return self.epoch * self.steps_per_epoch + (0 if self.part is None else self.part.step)

    def view(self, epoch: int | None) -> View:
        """How an epoch sees its images; None: validation."""
        return view_of(self.config, epoch, self.dataset.sample_shape[-1])

    def forward_flops(self, epoch: int | None = None) -> ForwardFlops:
        """FLOPs of the dense network at an epoch's training resolution; None: at that of evaluation."""
        pixels = self.view(epoch).resolution
        return network_flops(self.config.model, self.dataset.sample_shape[0], self.dataset.classes, pixels)

    def sizes(self, epoch: int | None = None) -> dict[str, LayerSize]:
        """The layers' sizes, see ``forward_flops``."""
        return self.forward_flops(epoch).sizes

    def epoch_batches(self, epoch: int, ranks: Ranks | None = None) -> list[MicroBatch]:
        """What this rank, or that of other ``ranks``, has left to do of an epoch."""
        config, count, ranks = self.config, self.loaders["train"].count, ranks or self.group.ranks
        if config.shuffle_window is None:
            order = sample_order(config.seed, epoch, count)
        else:
            order = windowed_order(config.seed, epoch, count, config.shuffle_window)
        done = 0 if self.part is None else self.part.step
        return training_batches(order, config.batch_size, config.accumulation or 1, ranks.rank, ranks.count, done)

    def train_batches(
        self, epoch: int, batches: list[MicroBatch]
    ) -> Generator[tuple[Tensor, Tensor, MicroBatch], None, None]:
        """Augmented, normalised images and their labels."""
        chosen = [batch.samples for batch in batches]
        with closing(self.loaders["train"].batches(chosen, self.view(epoch))) as loaded:
            for (images, labels, samples), batch in zip(to_device(loaded, self.device), batches, strict=True):
                yield self.normalize(self.augment(images, samples, epoch)), labels, batch

    def val_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised images and labels of this rank's share of the validation set."""
        ranks = self.group.ranks
        share = evaluation_batches(self.loaders["val"].count, self.config.batch_size, ranks.rank, ranks.count)
        with closing(self.loaders["val"].batches(share, self.view(None))) as batches:
            for images, labels, _ in to_device(batches, self.device):
                yield self.normalize(images), labels

    def gradients(self, are_complete: bool) -> AbstractContextManager[None]:
        """Around a forward and backward pass: whether it is its step's last."""
        return self.group.gradients_of(self.train_forward, are_complete)

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
            "part": None if self.part is None else self._part_state(self.part),
            "extra_flops": self.extra_flops,
            "data": self.dataset.identity,
        }

    def _part_state(self, part: Part) -> dict[str, Any]:
        """The part over all ranks, however many there will be when it is read."""
        loss_sum, correct = self.group.sum(part.loss_sum, part.correct)
        return asdict(part) | {"loss_sum": loss_sum, "correct": correct}

    def _load_part(self, state: dict[str, Any]) -> Part:
        loss_sum, correct = (state[key].to(self.device) * self.group.is_first for key in ("loss_sum", "correct"))
        return Part(state["step"], loss_sum, correct, state["seconds"], state["starved"])

    def _check_data(self, identity: list[Any] | str) -> None:
        if identity != self.dataset.identity:
            raise AcdcError(
                f"{self.dataset.folder}: not the data that this run began with; run.overwrite=true starts over"
            )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. The ranks do not talk to each other here.

        Raises:
            AcdcError: if it was trained on other data.
            ValueError, KeyError, RuntimeError and the like: if a part is missing or does not fit.
        """
        epochs = range(self.config.first_epoch or 0, known(self.config.epochs))
        if isinstance(state.get("data"), (list, str)):  # first: other data may mean a model of other shapes
            self._check_data(state["data"])
        own = {"method": self.method.state_dict(), "optimizer": self.optimizer.state_dict()}
        check_state(state, own, self.model.state_dict(), epochs, prunable_weights(self.model))
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        check_optimizer_state(self.model.parameters(), self.optimizer.state)
        self.scaler.load_state_dict(state["scaler"])
        self.method.load_state_dict(state["method"])
        self.rows = state["rows"]
        self.part = None if state.get("part") is None else self._load_part(state["part"])
        self.extra_flops = state.get("extra_flops", 0)


def _attached(method: Method, model: nn.Module, optimizer: torch.optim.Optimizer) -> Method:
    """Attach without the warning of uncovered weights, which a run prints as a line of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncoveredWeights)
        return method.attach(model, optimizer)


def _crops(config: Config) -> Crops | None:
    """How image files are cropped; None for a set of arrays, which has no such keys."""
    dataset = config.dataset
    if dataset.resolution is None:
        return None
    return Crops(config.seed, known(dataset.crop_scale_min), known(dataset.resize_ratio))


def _run_before(config: Config) -> dict[str, Any]:
    """The result of the run whose cost is part of this one's; empty if there is none."""
    if config.finetune or goes_on_from_a_run(config):
        return RunFolder(Path(str(config.start_from))).read_result()
    return {}


def build_run(
    config: Config, dataset: Dataset, group: Group = ALONE, say: Callable[[str], None] = warnings.warn
) -> Run:
    """Build a run at epoch 0 from a settled config. Raises ValueError if model and sparsity do not fit."""
    prepare_torch(config, group.ranks)
    device = device_of(config, group.ranks)
    reset_peak_memory(device)
    if config.precision.compile:
        torch.compiler.reset()  # runs of a sweep share their code objects, and the limit of recompilations with them
    model = build_model(config.model, dataset.sample_shape[0], dataset.classes)
    memory_format = torch.channels_last if config.precision.channels_last else torch.contiguous_format
    if config.start_from is not None:
        load_start(model, config)
    dtype = WEIGHT_DTYPE.get(config.precision.dtype, torch.float32)
    model = model.to(device, dtype).to(memory_format=memory_format)
    if config.sync_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    optimizer = build_optimizer(config.optimizer, model, config.precision.dtype)
    timeline = timeline_of(config)
    loaders = open_loaders(
        config.loader,
        dataset,
        known(config.workers),
        device,
        _crops(config),
        config.os_cache is not False,
        config.shuffle_window,
    )
    # A method takes its own passes at an epoch's beginning, when there is a run to take them from.
    method = build_method(config, loaders["train"].count, lambda _: fisher_passes(run), say)
    before = _run_before(config)
    parallel = group.parallel(model, device)
    compiled: Callable[[nn.Module], Any] = torch.compile if config.precision.compile else lambda module: module
    forward = compiled(model)
    run = Run(
        config=config,
        group=group,
        device=device,
        dataset=dataset,
        loaders=loaders,
        augment=Augmentation(config.dataset.crop_padding or 0, config.dataset.flip, config.seed),
        normalize=Normalization(dataset.info["mean"], dataset.info["std"], config.precision.channels_last, dtype),
        model=model,
        forward=forward,
        train_forward=forward if parallel is model else compiled(parallel),
        optimizer=optimizer,
        scaler=gradient_scaler(config),
        timeline=timeline,
        method=_attached(method, model, optimizer),
        rows=[],
        part=None,
        flops_before=before.get("train_flops_total", 0),
        seconds_before=before.get("seconds", 0.0),
    )
    return run
