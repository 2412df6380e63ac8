"""SET (arXiv 1707.04780) under RigL's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.methods import Expected, Setting
from acdc_cli.options import number, one_of
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import sparse_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.moving import MovingMasks


@register_method("set", within_layers=True, takes_patterns=False, takes_blocks=False)
@dataclass(kw_only=True)
class SetOptions:
    """The keys of SET.

    Attributes:
        start: fraction of the run at which connections begin to move.
        end: fraction of the run from which on they stay.
        interval_steps: steps between two moves.
        drop_fraction: of a layer's connections that move at first.
        layerwise: the distribution that a global target becomes.
    """

    start: float = number(0, 1)
    end: float = number(0, 1)
    interval_steps: int = number(1)
    drop_fraction: float = number(0, 1)
    layerwise: str = one_of("erk", "uniform")

    def build(self, setting: Setting) -> MovingMasks:
        """Return the method. A connection that grows begins at 0, so the last step of a run moves none."""
        from acdc_cli.sparsity.methods.rigl import set_

        window = setting.step_window(self.start, self.end, self.interval_steps, last=setting.steps - 1)
        return set_(setting.target, window, drop_fraction=self.drop_fraction, seed=setting.seed)

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3f: connections grow at random, without gradients."""
        return Expected(sparse_work(), sparse)
