"""SNIP: single-shot network pruning (arXiv 1810.02340)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.methods import Expected, Setting
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import sparse_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.moving import MovingMasks


@register_method("snip")
@dataclass(kw_only=True)
class SnipOptions:
    """SNIP has no keys."""

    def build(self, setting: Setting) -> MovingMasks:
        """Return the method."""
        from acdc_cli.sparsity.methods.snip import snip

        return snip(setting.target)

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3f; the first step, which takes all gradients, is one of many."""
        return Expected(sparse_work(), sparse)
