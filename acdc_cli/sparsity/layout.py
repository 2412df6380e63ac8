"""How a weight is stored: which of its axes are the outputs and which the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OUTPUT_AXIS, INPUT_AXIS = 0, 1  # of (out, in / groups, *kernel)


@dataclass(frozen=True)
class Layout:
    """Storage order of a weight of two or more dimensions.

    Linear, convolution, attention and recurrent weights are stored outputs first: (out, in / groups, *kernel).
    Transposed convolutions and Hugging Face's ``Conv1D`` are stored inputs first: (in, out / groups, *kernel).

    Attributes:
        inputs_first: whether the weight is stored inputs first.
        groups: of a weight that is stored inputs first: each input is connected to the outputs of its own group only.
    """

    inputs_first: bool = False
    groups: int = 1

    def outputs_first(self, stored: Tensor) -> Tensor:
        """The weight as (out, in / groups, *kernel). It shares memory with ``stored`` unless there are groups."""
        if not self.inputs_first:
            return stored
        grouped = stored.unflatten(0, (self.groups, -1))  # (groups, in / groups, out / groups, *kernel)
        return grouped.transpose(1, 2).flatten(0, 1)

    def as_stored(self, weight: Tensor) -> Tensor:
        """The inverse of ``outputs_first``. Swapping the two axes within each group a second time undoes the first."""
        return self.outputs_first(weight)

    def shape_outputs_first(self, stored: torch.Size) -> torch.Size:
        """The shape that ``outputs_first`` gives to a weight of this stored shape."""
        if not self.inputs_first:
            return stored
        inputs, outputs, *kernel = stored
        return type(stored)([outputs * self.groups, inputs // self.groups, *kernel])


OUTPUTS_FIRST = Layout()
