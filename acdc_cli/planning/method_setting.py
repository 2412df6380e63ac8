"""What a method is told about its run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from acdc_cli.config.schedule import timeline_of
from acdc_cli.config.schema import Config, is_pruned_to_target
from acdc_cli.config.sparsity import allocation_of
from acdc_cli.methods import GradientPasses, Setting


def method_setting(
    config: Config, samples: int, passes: GradientPasses, say: Callable[[str], None] = lambda line: None
) -> Setting:
    """Return what the method of a complete config is built with.

    Args:
        config: complete.
        samples: training samples.
        passes: see ``Setting.gradient_passes``.
        say: takes a line for the user.
    """
    return Setting(
        epochs=config.epochs,
        timeline=timeline_of(config),
        allocation=allocation_of(config) if is_pruned_to_target(config) else None,
        samples=samples,
        batch_size=config.batch_size,
        seed=config.seed,
        gradient_passes=passes,
        say=say,
    )


def no_passes(batches: int, batch_size: int) -> Iterator[None]:
    """Do nothing, for a method that is only asked what it expects."""
    return iter(())
