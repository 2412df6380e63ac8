"""A run: everything that its loop touches, and what of it must survive a crash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from acdc_cli.config.schema import SettledConfig
from acdc_cli.data.loading.batches import MicroBatch, training_batches
from acdc_cli.data.order import sample_order, windowed_order
from acdc_cli.errors import AcdcError
from acdc_cli.measure.flops import ForwardFlops, LayerSize
from acdc_cli.measure.network import network_flops
from acdc_cli.ranks import Ranks
from acdc_cli.records.epoch_row import EpochRow
from acdc_cli.sparsity.method import Method
from acdc_cli.sparsity.prunable import prunable_weights
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.tasks import Data, Feed
from acdc_cli.training.group import Group
from acdc_cli.training.machine import autocast
from acdc_cli.training.state_check import check_optimizer_state, check_state


@dataclass
class Part:
    """The part of an epoch that is done: the position inside it, and the sums that its record is made of."""

    step: int  # steps done
    sums: dict[str, Tensor]  # over this rank's samples: the loss, and what the task adds up
    seconds: float
    starved: dict[str, int] | None

    def add(self, loss: Tensor, sums: Mapping[str, Tensor], counts: bool) -> None:
        """Add a pass's sums. They stay on the device: reading one here would make the host wait for every step.

        Args:
            loss: summed over the pass's samples.
            sums: those of the task.
            counts: False for a stand-in, whose samples another rank counts.
        """
        for name, value in {"loss": loss, **{name: value * counts for name, value in sums.items()}}.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros((), device=value.device)
            self.sums[name] += value


@dataclass
class Run:
    """Everything the loop touches. ``rows`` are the finished epochs' records; with ``part`` they are the position."""

    config: SettledConfig
    group: Group
    device: torch.device
    task: Any  # what is learned, see acdc_cli.tasks
    data: Data
    feed: Feed
    inputs: Any  # what the task builds a model for
    model: nn.Module
    forward: Any  # the model, compiled if asked for; the same parameters
    train_forward: Any  # the same, with its gradients averaged over the ranks
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    timeline: Timeline
    method: Method
    rows: list[EpochRow]
    part: Part | None  # None: between two epochs
    flops_before: float  # spent by the run that this one goes on from
    seconds_before: float
    extra_flops: int = 0  # of the epoch's passes that are no part of a step

    @property
    def epoch(self) -> int:
        """Epochs completed, those of the run that this one goes on from included."""
        return (self.config.first_epoch or 0) + len(self.rows)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; the last batch may be smaller."""
        return -(-self.samples // self.config.batch_size)

    @property
    def samples(self) -> int:
        """Training samples."""
        return self.data.count("train")

    @property
    def steps_done(self) -> int:
        """Optimizer steps completed, those of the run that this one goes on from included."""
        return self.epoch * self.steps_per_epoch + (0 if self.part is None else self.part.step)

    def forward_flops(self, epoch: int | None = None) -> ForwardFlops:
        """Return the FLOPs of the dense network on a sample of an epoch; None: on one of the evaluation."""
        return network_flops(self.config, self.inputs, self.task.example_size(self.config, self.inputs, epoch))

    def sizes(self, epoch: int | None = None) -> dict[str, LayerSize]:
        """The layers' sizes, see ``forward_flops``."""
        return self.forward_flops(epoch).sizes

    def epoch_batches(self, epoch: int, ranks: Ranks | None = None) -> list[MicroBatch]:
        """Return the passes of an epoch that are still to do on this rank, or on that of other ``ranks``."""
        config, count, ranks = self.config, self.samples, ranks or self.group.ranks
        if config.shuffle_window is None:
            order = sample_order(config.seed, epoch, count)
        else:
            order = windowed_order(config.seed, epoch, count, config.shuffle_window)
        done = 0 if self.part is None else self.part.step
        return training_batches(order, config.batch_size, config.accumulation or 1, ranks.rank, ranks.count, done)

    def val_batches(self) -> Iterator[tuple[Any, Any]]:
        """Yield the inputs and targets of this rank's share of the validation set."""
        return self.feed.val_batches(self.group.ranks.rank, self.group.ranks.count)

    def gradients(self, are_complete: bool) -> AbstractContextManager[None]:
        """Return the context of a forward and backward pass; ``are_complete``: it is the last one of its step."""
        return self.group.gradients_of(self.train_forward, are_complete)

    def predict(self, inputs: Any) -> Any:
        """Return the model's outputs under the run's precision."""
        with autocast(self.config):
            return self.forward(inputs)

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
            "data": self.data.identity,
        }

    def _part_state(self, part: Part) -> dict[str, Any]:
        """Return the part over all ranks, however many there will be when it is read."""
        sums = dict(zip(part.sums, self.group.sum(*part.sums.values()), strict=True))
        return {"step": part.step, "sums": sums, "seconds": part.seconds, "starved": part.starved}

    def _load_part(self, state: dict[str, Any]) -> Part:
        sums = {name: total.to(self.device) * self.group.is_first for name, total in state["sums"].items()}
        return Part(state["step"], sums, state["seconds"], state["starved"])

    def _check_data(self, identity: list[Any] | str) -> None:
        if identity != self.data.identity:
            raise AcdcError(
                f"{self.data.folder}: not the data that this run began with; run.overwrite=true starts over"
            )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. The ranks do not talk to each other here.

        Raises:
            AcdcError: if it was trained on other data.
            ValueError, KeyError, RuntimeError and the like: if a part is missing or does not fit.
        """
        epochs = range(self.config.first_epoch or 0, self.config.epochs)
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
