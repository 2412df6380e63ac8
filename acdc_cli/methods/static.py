"""Static masks: a random sparse network trained as it is, or the zeros of the weights that a run starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.methods import Expected, Setting
from acdc_cli.options import one_of
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import sparse_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.methods.static import Static
    from acdc_cli.sparsity.moving import MovingMasks


@register_method("static")
@dataclass(kw_only=True)
class StaticOptions:
    """The keys of static masks.

    Attributes:
        layerwise: the distribution that a global target becomes; null with ``masks=from_weights``.
    """

    layerwise: str | None = one_of("erk", "uniform", default=None)

    def build(self, setting: Setting) -> Static | MovingMasks:
        """Return random masks of the target, or without a target those of the weights that there are."""
        from acdc_cli.sparsity.methods.fixed import random_static
        from acdc_cli.sparsity.methods.static import Static

        return Static() if setting.allocation is None else random_static(setting.allocation, seed=setting.seed)

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3f."""
        return Expected(sparse_work(), sparse)
