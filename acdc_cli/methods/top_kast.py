"""Top-KAST: Top-K Always Sparse Training (arXiv 2106.03517)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput
from acdc_cli.methods import Expected, Setting
from acdc_cli.options import number, one_of
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import sparse_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.methods.top_kast import TopKAST


@register_method("top_kast", takes_patterns=False)
@dataclass(kw_only=True)
class TopKastOptions:
    """The keys of Top-KAST.

    Attributes:
        backward_sparsity: of the weights that are updated; 0 updates all.
        interval_steps: steps between two choices of the weights that are used and updated.
        layerwise: the distribution that a global target becomes.
    """

    backward_sparsity: float = number(0, 1, below=True)
    interval_steps: int = number(1)
    layerwise: str = one_of("erk", "uniform")

    def build(self, setting: Setting) -> TopKAST:
        """Return the method."""
        from acdc_cli.sparsity.methods.top_kast import TopKAST

        return TopKAST(setting.target, backward_sparsity=self.backward_sparsity, interval=self.interval_steps)

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 2f, and the gradients of the weights that are updated."""
        return Expected(sparse_work(), sparse, weight_gradient=max(sparse, 1 - self.backward_sparsity))

    def check(self, config: Config) -> None:
        """Raise BadInput if fewer weights would be updated than used."""
        least = min(float(target) for target in config.sparsity.targets() if target)
        if self.backward_sparsity > least:
            raise BadInput(
                f"method.backward_sparsity={self.backward_sparsity}: above the forward sparsity {least}; what is "
                f"updated has to hold what is used; nearest: method.backward_sparsity={least}"
            )
