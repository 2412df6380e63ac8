"""Stochastic iterative hard thresholding (arXiv 2106.12379, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.methods import Expected, Setting
from acdc_cli.options import number
from acdc_cli.parts import register_method
from acdc_cli.sparsity.window import Window
from acdc_cli.sparsity.work import sparse_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.moving import MovingMasks


@register_method("iht")
@dataclass(kw_only=True)
class IhtOptions:
    """The keys of iterative hard thresholding.

    Attributes:
        interval_steps: steps between two thresholdings.
    """

    interval_steps: int = number(1)

    def build(self, setting: Setting) -> MovingMasks:
        """Return the method."""
        from acdc_cli.sparsity.methods.iht import iht

        return iht(setting.target, Window(0, setting.steps, self.interval_steps))

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 2f + F: every step takes the gradients of all weights."""
        return Expected(sparse_work(dense_gradient_share=1.0), sparse)
