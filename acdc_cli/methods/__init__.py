"""The sparse methods, one file each: its keys, its phases, what a step costs, how it is built, what is special.

A file registers a dataclass (see ``acdc_cli.register_method``). The fields are the keys that ``method`` has in a
config. The class has these two functions:

``build(self, setting)``
    Return the method (``acdc_cli.sparsity.Method``), not yet attached. Raise ValueError if it cannot do what is asked.
``expected(self, setting, epoch, sparse)``
    Return what a step of an epoch (0-based) is expected to cost, as ``Expected``. ``sparse`` is f / F: the forward
    FLOPs at the target over those of the dense network. A plan adds these up. A run charges what the method's own
    ``work()`` says, which should be made by the same function of ``sparsity.work``.

It may have these as well:

``phases(self, epochs)``
    Return the run's phases, such as ``[("dense", 0, 4), ("sparse", 4, 10)]``. A sparse epoch ends at the full sparsity.
    Without this function the whole run is one sparse phase.
``check(self, config)``
    Raise BadInput for keys that contradict each other or the rest of the config.
``adjusted_sparsity(self, sparsity)``
    Return the keys of ``sparsity``, with those replaced that the method decides by itself.
``settled(self, needs)``
    Return the options with every key filled in that null leaves to the machine.
``check_samples(self, needs)`` and ``check_memory(self, needs)``
    Raise BadInput if the training set, or the memory that is free now, is too small.

The files import torch in ``build`` and nowhere else: a command that only reads a config does not wait for torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.sparsity.window import Window
from acdc_cli.sparsity.work import Work

if TYPE_CHECKING:
    from acdc_cli.sparsity.allocate import Allocation

GradientPasses = Callable[[int, int], Iterator[None]]


@dataclass(frozen=True)
class Expected:
    """What a training step of an epoch is expected to cost.

    Attributes:
        work: which part of the step skips zeros.
        forward: FLOPs of the forward pass over those of the dense network, in [0, 1].
        weight_gradient: the same for the weight gradients, where ``work`` does not say it.
    """

    work: Work
    forward: float
    weight_gradient: float | None = None


@dataclass(frozen=True)
class Setting:
    """What a method knows about the run that it is built for.

    Attributes:
        epochs: of the whole run.
        timeline: the run's phases.
        allocation: how much is pruned of which layer; None where no sparsity is asked for: ``masks=from_weights``.
        samples: training samples.
        batch_size: samples a step.
        seed: of the run.
        gradient_passes: ``gradient_passes(batches, batch_size)`` does a forward and a backward pass over each of so
            many batches of training samples, and yields after each with ``weight.grad`` set. A method that takes them
            at the beginning of an epoch declares ``takes_passes``.
        say: takes a line for the user.
    """

    epochs: int
    timeline: Timeline
    allocation: Allocation | None
    samples: int
    batch_size: int
    seed: int
    gradient_passes: GradientPasses
    say: Callable[[str], None]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; the last batch may be smaller."""
        return -(-self.samples // self.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def target(self) -> Allocation:
        """The allocation of a method that cannot do without one. Raises ValueError if there is none."""
        if self.allocation is None:
            raise ValueError("this method needs a sparsity target")
        return self.allocation

    def step_window(self, start: float, end: float, interval_steps: int, last: int | None = None) -> Window:
        """Return a window in steps that stretches with the run.

        Args:
            start: fraction of the run.
            end: fraction of the run.
            interval_steps: steps between two moves of the masks.
            last: the latest step that the window may end at; None: the run's end.
        """
        limit = self.steps if last is None else last
        first, final = (min(round(fraction * self.steps), limit) for fraction in (start, end))
        return Window(first, final, interval_steps)


@dataclass(frozen=True)
class Needs:
    """What a method may ask about the machine and the data before anything is built.

    Attributes:
        dataset: its name.
        samples: training samples; None while the data are not known.
        counts: returns the number of weights of each layer that is pruned.
        element_bytes: bytes of a number that the method computes with.
        total_memory_bytes: returns all memory of the run's device that one rank may use.
        free_memory_bytes: returns what of it is free now.
        ranks_sharing: how many ranks share that memory.
    """

    dataset: str
    samples: int | None
    counts: Callable[[], list[int]]
    element_bytes: int
    total_memory_bytes: Callable[[], int]
    free_memory_bytes: Callable[[], int]
    ranks_sharing: int
