"""GMP: gradual magnitude pruning (arXiv 1710.01878)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput
from acdc_cli.methods import Expected, Setting
from acdc_cli.methods._gradual import check_initial, phases_until
from acdc_cli.options import number
from acdc_cli.parts import register_method
from acdc_cli.sparsity.window import Window
from acdc_cli.sparsity.work import sparse_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.moving import MovingMasks


@register_method("gmp", may_prune_trained=True, takes_patterns=False)
@dataclass(kw_only=True)
class GmpOptions:
    """The keys of gradual magnitude pruning.

    Attributes:
        start: fraction of the run at which pruning begins.
        end: fraction of the run at which it ends.
        interval_steps: steps between two prunings; null where ``interval_epochs`` is given.
        interval_epochs: epochs between two prunings; null where ``interval_steps`` is given.
        initial_sparsity: of the first pruning.
        power: of the schedule; 3 is cubic.
    """

    start: float = number(0, 1)
    end: float = number(0, 1)
    interval_steps: int | None = number(1, default=None)
    interval_epochs: int | None = number(1, default=None)
    initial_sparsity: float = number(0, 1, below=True)
    power: float = number(0, above=True)

    def build(self, setting: Setting) -> MovingMasks:
        """Return the method."""
        from acdc_cli.sparsity.methods.gmp import gmp

        return gmp(setting.target, self.window(setting), initial_sparsity=self.initial_sparsity, power=self.power)

    def window(self, setting: Setting) -> Window:
        """Return the steps at which it prunes."""
        by_epochs = (self.interval_epochs or 0) * setting.steps_per_epoch
        return setting.step_window(self.start, self.end, self.interval_steps or by_epochs or 1)

    def _start_and_end(self, epochs: int) -> tuple[float, float]:
        """Return where pruning begins and where the last pruning is due, in epochs of the run."""
        start, end = self.start * epochs, self.end * epochs
        if self.interval_epochs is None:
            return start, end
        return start, start + (end - start) // self.interval_epochs * self.interval_epochs

    def phases(self, epochs: int) -> list[tuple[str, int, int]]:
        """Return dense until the epoch at whose end the last pruning is done, then sparse."""
        done = math.ceil(round(self._start_and_end(epochs)[1], 6)) - 1
        return phases_until(min(max(done, 0), epochs - 1), epochs)

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3f, with the f of the schedule at the end of the epoch."""
        start, end = self._start_and_end(setting.epochs)
        progress = min(max((epoch + 1 - start) / (end - start), 0.0), 1.0) if end > start else float(epoch + 1 > start)
        initial = 1.0 if epoch + 1 < start else 1 - self.initial_sparsity
        return Expected(sparse_work(), sparse + (initial - sparse) * (1 - progress) ** self.power)

    def check(self, config: Config) -> None:
        """Raise BadInput unless exactly one interval is given, and if it begins above its target."""
        if self.interval_steps is not None and self.interval_epochs is not None:
            raise BadInput(
                f"method.interval_epochs={self.interval_epochs}: beside method.interval_steps={self.interval_steps}, "
                "which says it in steps; make one of them null"
            )
        if self.interval_steps is None and self.interval_epochs is None:
            raise BadInput("method.interval_steps=null: method=gmp needs a value; conf/method/gmp.yaml has one")
        check_initial(self.initial_sparsity, config)
