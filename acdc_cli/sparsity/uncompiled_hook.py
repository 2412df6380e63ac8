"""A forward hook that ``torch.compile`` leaves out. Importing this imports the compiler: two seconds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from acdc_cli.sparsity.noisy_layers import ForwardHook


class UncompiledForwardHook(ForwardHook):
    """One that ``torch.compile`` leaves out of its graphs, itself and what it calls."""

    @torch.compiler.disable
    def __call__(self, *of_the_pass: Any) -> Tensor | None:
        """Do what it was made for."""
        return self._call(*of_the_pass)
