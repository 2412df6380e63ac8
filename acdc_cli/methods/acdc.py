"""AC/DC: Alternating Compressed/DeCompressed training (arXiv 2106.12379)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.methods import Expected, Setting
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import alternating_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.methods.acdc import ACDC


@register_method("acdc", follows_schedule=True, makes_dense_model=True, takes_zero_target=True, may_empty_layers=True)
@dataclass(kw_only=True)
class AcdcOptions:
    """The keys of AC/DC. Its phases are those of ``schedule``.

    Attributes:
        reset_moments: reset the optimizer's moments at the beginning of each dense phase.
    """

    reset_moments: bool

    def build(self, setting: Setting) -> ACDC:
        """Return the method. Raises ValueError for a timeline that does not end sparse."""
        from acdc_cli.sparsity.methods.acdc import ACDC

        return ACDC(setting.timeline, setting.target, reset_moments=self.reset_moments)

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3f in a sparse phase; in a dense one 2f + F with f = F, as if no weight stayed zero."""
        is_sparse = setting.timeline.phase(epoch).kind == "sparse"
        return Expected(alternating_work(is_sparse), sparse if is_sparse else 1.0)
