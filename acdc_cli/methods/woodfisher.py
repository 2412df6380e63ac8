"""WoodFisher: pruning by second-order information (arXiv 2004.14340)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput
from acdc_cli.methods import Expected, Needs, Setting
from acdc_cli.methods._gradual import check_initial, phases_until
from acdc_cli.options import number
from acdc_cli.parts import register_method
from acdc_cli.sparsity.window import Window, gradual_sparsity
from acdc_cli.sparsity.work import sparse_work

if TYPE_CHECKING:
    from acdc_cli.sparsity.moving import MovingMasks


@register_method(
    "woodfisher",
    prunes_trained=True,
    takes_passes=True,
    memory_advice="a smaller method.fisher_block, or smaller passes",
)
@dataclass(kw_only=True)
class WoodfisherOptions:
    """The keys of WoodFisher.

    Attributes:
        start: fraction of the run at which it prunes first, in whole epochs.
        end: fraction of the run at which it prunes last.
        interval_epochs: epochs between two prunings.
        initial_sparsity: of the first of several prunings.
        power: of the gradual schedule; 3 is cubic.
        fisher_samples: gradients that a Fisher matrix is made of.
        fisher_batch: samples that each of the gradients is the mean of.
        fisher_damping: lambda, which is added to the diagonal.
        fisher_block: weights of a layer that are seen together; null: as many as the memory takes.
        fisher_joint: the weights that stay react to all weights that go at once.
        fisher_compact: blocks are of weights that are still there; null: of all.
        fisher_update_scale: share of the move of the weights that stay; null: the whole move.
    """

    start: float = number(0, 1)
    end: float = number(0, 1)
    interval_epochs: int = number(1)
    initial_sparsity: float = number(0, 1, below=True)
    power: float = number(0, above=True)
    fisher_samples: int = number(1)
    fisher_batch: int = number(1)
    fisher_damping: float = number(0, above=True)
    fisher_block: int | None = number(1, default=None)
    fisher_joint: bool
    fisher_compact: bool | None = None
    fisher_update_scale: float | None = number(0, 1, default=None)

    def window(self, epochs: int) -> Window:
        """Return the epochs at whose beginning it prunes. The run has an epoch left after the last one."""
        last = epochs - 1
        start, end = (min(round(fraction * epochs), last) for fraction in (self.start, self.end))
        return Window(start, end, self.interval_epochs)

    def build(self, setting: Setting) -> MovingMasks:
        """Return the method."""
        from acdc_cli.sparsity.methods.woodfisher import woodfisher

        if self.fisher_block is None:
            raise ValueError("method.fisher_block has no value yet")

        def passes(model: Any) -> Any:
            return setting.gradient_passes(self.fisher_samples, self.fisher_batch)

        return woodfisher(
            setting.target,
            passes,
            samples=self.fisher_samples,
            block=self.fisher_block,
            damping=self.fisher_damping,
            joint=self.fisher_joint,
            compact=bool(self.fisher_compact),
            update_scale=1.0 if self.fisher_update_scale is None else self.fisher_update_scale,
            window=self.window(setting.epochs),
            initial_sparsity=self.initial_sparsity,
            power=self.power,
            say=setting.say,
        )

    def phases(self, epochs: int) -> list[tuple[str, int, int]]:
        """Return dense until the last pruning, then sparse."""
        return phases_until(self.window(epochs).last, epochs)

    def expected(self, setting: Setting, epoch: int, sparse: float) -> Expected:
        """Return 3f after the newest pruning. The Fisher matrices' own passes come on top in a run's record."""
        window = self.window(setting.epochs)
        if epoch < window.start:
            return Expected(sparse_work(), 1.0)
        progress = window.progress(epoch - (epoch - window.start) % window.interval)
        return Expected(sparse_work(), gradual_sparsity(1 - self.initial_sparsity, sparse, progress, self.power))

    def check(self, config: Config) -> None:
        """Raise BadInput for a gradual schedule towards N:M, or one that begins above its target."""
        if self.start == self.end:
            return
        if config.sparsity.has_pattern():
            raise BadInput(
                f"sparsity.target={config.sparsity.target} method.start={self.start} method.end={self.end}: N:M has no "
                f"halfway that several prunings could go through; nearest: method.end={self.start}, or a fraction such "
                "as sparsity.target=0.5"
            )
        check_initial(self.initial_sparsity, config)

    def settled(self, needs: Needs) -> Self:
        """Return the options with the largest block that all the memory of the machine takes.

        It does not depend on the memory that is free now, so that the run is found again.
        """
        if self.fisher_block is not None:
            return self
        from acdc_cli.sparsity.fisher_memory import largest_block

        block = largest_block(needs.counts(), needs.total_memory_bytes(), needs.element_bytes)
        return replace(self, fisher_block=block)

    def check_samples(self, needs: Needs) -> None:
        """Raise BadInput if a Fisher matrix is to be made of more samples than there are."""
        samples = needs.samples or 0
        if (asked := self.fisher_samples * self.fisher_batch) > samples:
            fitting = samples // self.fisher_batch
            nearest = f"method.fisher_samples={fitting}" if fitting else f"method.fisher_batch={samples}"
            raise BadInput(
                f"method.fisher_samples={self.fisher_samples} method.fisher_batch={self.fisher_batch}: are {asked} "
                f"samples, and dataset={needs.dataset} has {samples} to train on; nearest: {nearest}"
            )

    def check_memory(self, needs: Needs) -> None:
        """Raise BadInput, with the memory that they need, if the inverses do not fit into what is free now."""
        from acdc_cli.sparsity.fisher import inverse_bytes
        from acdc_cli.sparsity.fisher_memory import gibibytes, largest_block

        block = self.settled(needs).fisher_block or 1
        needed, free = inverse_bytes(needs.counts(), block, needs.element_bytes), needs.free_memory_bytes()
        if needed > free:
            raise BadInput(
                f"method.fisher_block={block}: its inverses need {gibibytes(needed)} of memory, and "
                f"{gibibytes(free)} are free{' for each rank' if needs.ranks_sharing > 1 else ''}; nearest: "
                f"method.fisher_block={largest_block(needs.counts(), free, needs.element_bytes)}"
            )
