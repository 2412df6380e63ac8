"""One-shot magnitude pruning of a trained dense network, then fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.methods import Expected, Setting
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import sparse_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.moving import MovingMasks


@register_method("magnitude", prunes_trained=True)
@dataclass(kw_only=True)
class MagnitudeOptions:
    """One-shot magnitude pruning has no keys."""

    def build(self, setting: Setting) -> MovingMasks:
        """Return the method."""
        from acdc_cli.sparsity.methods.fixed import magnitude

        return magnitude(setting.target)

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3f."""
        return Expected(sparse_work(), sparse)
