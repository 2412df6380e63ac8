"""STR: Soft Threshold Weight Reparameterization (arXiv 2002.03231)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from acdc_cli.config.schema import SparsityConfig
from acdc_cli.methods import Expected, Setting
from acdc_cli.options import number
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import sparse_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.methods.soft_threshold import SoftThreshold


@register_method("str", decided_by="s_weight_decay", takes_patterns=False, takes_blocks=False, takes_zero_target=True)
@dataclass(kw_only=True)
class StrOptions:
    """The keys of STR.

    Attributes:
        s_init: every layer's threshold begins at sigmoid(s_init).
        s_weight_decay: it pulls s towards 0, and so the threshold up to 1/2.
    """

    s_init: float = number()
    s_weight_decay: float = number(0)

    def build(self, setting: Setting) -> SoftThreshold:
        """Return the method."""
        from acdc_cli.sparsity.methods.soft_threshold import SoftThreshold

        rules = setting.target.rules
        return SoftThreshold(s_init=self.s_init, s_weight_decay=self.s_weight_decay, rules=rules)

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3f at the sparsity that is wished for."""
        return Expected(sparse_work(), sparse)

    def adjusted_sparsity(self, sparsity: SparsityConfig) -> SparsityConfig:
        """Read the layers that stay dense and nothing else: the distribution is learned."""
        return replace(sparsity, distribution="global", min_layer_density=0.0, indivisible="skip")
