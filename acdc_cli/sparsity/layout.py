"""The layout of a weight in memory: which axis holds the outputs and which the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OUTPUT_AXIS, INPUT_AXIS = 0, 1  # axes of a weight (out, in / groups, *kernel)


@dataclass(frozen=True)
class Layout:
    """The order in which the axes of a weight with two or more dimensions are stored.

    Linear, convolution, attention and recurrent weights are stored outputs first: (out, in / groups, *kernel).
    Transposed convolutions and Hugging Face's ``Conv1D`` are stored inputs first: (in, out / groups, *kernel).

    Attributes:
        inputs_first: whether the weight is stored inputs first.
        groups: number of groups of a weight that is stored inputs first. Each input is connected only to the outputs
            of its own group.
    """

    inputs_first: bool = False
    groups: int = 1

    def outputs_first(self, stored: Tensor) -> Tensor:
        """Return the weight as (out, in / groups, *kernel). It shares memory with ``stored`` if groups is 1."""
        if not self.inputs_first:
            return stored
        grouped = stored.unflatten(0, (self.groups, -1))  # (groups, in / groups, out / groups, *kernel)
        return grouped.transpose(1, 2).flatten(0, 1)

    def as_stored(self, weight: Tensor) -> Tensor:
        """Undo ``outputs_first``: return the weight as it is stored.

        ``outputs_first`` swaps the two axes within each group, so applying it a second time undoes it.
        """
        return self.outputs_first(weight)

    def shape_outputs_first(self, stored: torch.Size) -> torch.Size:
        """Return the shape that ``outputs_first`` gives to a weight with this stored shape."""
        if not self.inputs_first:
            return stored
        inputs, outputs, *kernel = stored
        return type(stored)([outputs * self.groups, inputs // self.groups, *kernel])


OUTPUTS_FIRST = Layout()
