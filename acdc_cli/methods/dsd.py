"""DSD: dense-sparse-dense training (arXiv 1607.04381)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput
from acdc_cli.methods import Expected, Setting
from acdc_cli.options import number
from acdc_cli.parts import register_method
from acdc_cli.sparsity.work import alternating_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.methods.dsd import DSD

LEAST_EPOCHS = 3  # one for each phase


@register_method("dsd", makes_dense_model=True)
@dataclass(kw_only=True)
class DsdOptions:
    """The keys of DSD.

    Attributes:
        start: fraction of the run at which the sparse phase begins.
        end: fraction of the run at which the sparse phase ends.
    """

    start: float = number(0, 1)
    end: float = number(0, 1)

    def build(self, setting: Setting) -> DSD:
        """Return the method."""
        from acdc_cli.sparsity.methods.dsd import DSD

        return DSD(setting.timeline, setting.target)

    def phases(self, epochs: int) -> list[tuple[str, int, int]]:
        """Return dense, sparse and dense in whole epochs, each at least one."""
        first = min(max(round(self.start * epochs), 1), epochs - 2)
        last = min(max(round(self.end * epochs), first + 1), epochs - 1)
        return [("dense", 0, first), ("sparse", first, last), ("dense", last, epochs)]

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3f in the sparse phase, else 3F: what AC/DC is charged."""
        is_sparse = setting.timeline.phase(epoch).kind == "sparse"
        return Expected(alternating_work(is_sparse), sparse if is_sparse else 1.0)

    def check(self, config: Config) -> None:
        """Raise BadInput for a run of fewer epochs than phases."""
        if config.epochs < LEAST_EPOCHS:
            raise BadInput(f"epochs={config.epochs}: dsd has three phases; nearest: epochs={LEAST_EPOCHS}")
