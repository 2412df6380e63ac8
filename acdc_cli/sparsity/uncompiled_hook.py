"""A forward hook that ``torch.compile`` does not compile.

It has a module of its own because importing it also imports the compiler, which takes two seconds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from acdc_cli.sparsity.noisy_layers import ForwardHook


class UncompiledForwardHook(ForwardHook):
    """A ``ForwardHook`` that runs outside the graphs of ``torch.compile``, and so does every function it calls."""

    @torch.compiler.disable
    def __call__(self, *of_the_pass: Any) -> Tensor | None:
        """Call the function that the hook was made with."""
        return self._call(*of_the_pass)
