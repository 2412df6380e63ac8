"""Sparse variational dropout (arXiv 1701.05369)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from acdc_cli.config.schema import SparsityConfig
from acdc_cli.methods import Expected, Setting
from acdc_cli.options import number
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import dense_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.methods.variational import SparseVD


@register_method("sparse_vd", decided_by="kl_weight", takes_patterns=False, takes_blocks=False, takes_zero_target=True)
@dataclass(kw_only=True)
class SparseVdOptions:
    """The keys of sparse variational dropout.

    Attributes:
        start: fraction of the run at which the weight of the KL divergence begins to rise.
        end: fraction of the run from which on it is ``kl_weight``.
        kl_weight: of the KL divergence, beside the mean loss times the training samples.
        log_alpha_threshold: weights whose log alpha is at least this are zero.
        initial_log_sigma2: of every weight.
    """

    start: float = number(0, 1)
    end: float = number(0, 1)
    kl_weight: float = number(0)
    log_alpha_threshold: float = number()
    initial_log_sigma2: float = number()

    def build(self, setting: Setting) -> SparseVD:
        """Return the method."""
        from acdc_cli.sparsity.methods.variational import SparseVD

        return SparseVD(
            setting.target,
            samples=setting.samples,
            ramp=setting.step_window(self.start, self.end, 1),
            kl_weight=self.kl_weight,
            log_alpha_threshold=self.log_alpha_threshold,
            initial_log_sigma2=self.initial_log_sigma2,
        )

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 6F: every pass is done for the means and for the variances."""
        return Expected(dense_work(passes=2), 1.0)

    def adjusted_sparsity(self, sparsity: SparsityConfig) -> SparsityConfig:
        """One threshold for all layers is a global ranking."""
        return replace(sparsity, distribution="global")
