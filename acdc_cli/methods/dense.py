"""The dense baseline: the same loop without masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.methods import Expected, Setting
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import dense_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.methods.dense import Dense


@register_method("dense", makes_sparse_model=False, makes_dense_model=True, takes_zero_target=True)
@dataclass(kw_only=True)
class DenseOptions:
    """The dense baseline has no keys."""

    def build(self, setting: Setting) -> Dense:
        """Return the method."""
        from acdc_cli.sparsity.methods.dense import Dense

        return Dense()

    def phases(self, epochs: int) -> list[tuple[str, int, int]]:
        """Return one dense phase."""
        return [("dense", 0, epochs)]

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3F."""
        return Expected(dense_work(), 1.0)
