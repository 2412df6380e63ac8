"""From the method's keys to a method: what it reads, what it refuses, and how it is built."""

from __future__ import annotations

from collections.abc import Callable

from acdc_cli.config.compose import allocation_of
from acdc_cli.config.schedule import epoch_window, timeline_of
from acdc_cli.config.schema import Config, known
from acdc_cli.sparsity.fisher_sample import Passes
from acdc_cli.sparsity.method import Method
from acdc_cli.sparsity.methods import (
    ACDC,
    DSD,
    Dense,
    SoftThreshold,
    SparseVD,
    Static,
    TopKAST,
    gmp,
    iht,
    magnitude,
    random_static,
    rigl,
    set_,
    snip,
    woodfisher,
)
from acdc_cli.sparsity.window import Window


def build_method(config: Config, samples: int, passes: Passes, say: Callable[[str], None]) -> Method:
    """The sparse method of a complete config, not yet attached. Raises ValueError if it cannot do what is asked.

    Args:
        samples: in the training set.
        passes: forward and backward passes for a method that takes some of its own.
        say: takes a line for the user.
    """
    method, steps = config.method, known(config.epochs) * -(-samples // config.batch_size)
    if method.name == "dense":
        return Dense()
    if config.masks == "from_weights":
        return Static()
    allocation = allocation_of(config)
    if method.name == "acdc":
        return ACDC(timeline_of(config), allocation, reset_moments=bool(method.reset_moments))
    if method.name == "dsd":
        return DSD(timeline_of(config), allocation)
    if method.name == "top_kast":
        return TopKAST(
            allocation, backward_sparsity=known(method.backward_sparsity), interval=known(method.interval_steps)
        )
    if method.name == "str":
        rates = {"s_init": known(method.s_init), "s_weight_decay": known(method.s_weight_decay)}
        return SoftThreshold(**rates, rules=allocation.rules)
    if method.name == "sparse_vd":
        return SparseVD(
            allocation,
            samples=samples,
            ramp=_window(config, steps),
            kl_weight=known(method.kl_weight),
            log_alpha_threshold=known(method.log_alpha_threshold),
            initial_log_sigma2=known(method.initial_log_sigma2),
        )
    if method.name == "gmp":
        return gmp(
            allocation,
            _window(config, steps),
            initial_sparsity=known(method.initial_sparsity),
            power=known(method.power),
        )
    if method.name == "woodfisher":
        return woodfisher(
            allocation,
            passes,
            samples=known(method.fisher_samples),
            block=known(method.fisher_block),
            damping=known(method.fisher_damping),
            joint=known(method.fisher_joint),
            compact=bool(method.fisher_compact),
            update_scale=1.0 if method.fisher_update_scale is None else method.fisher_update_scale,
            window=epoch_window(config),
            initial_sparsity=known(method.initial_sparsity),
            power=known(method.power),
            say=say,
        )
    if method.name in ("rigl", "set"):
        build = rigl if method.name == "rigl" else set_
        # A connection that grows begins at 0: the run does not end before it has had a step.
        window, drop_fraction = _window(config, steps, last=steps - 1), known(method.drop_fraction)
        return build(allocation, window, drop_fraction=drop_fraction, seed=config.seed)
    if method.name == "iht":
        return iht(allocation, Window(0, steps, known(method.interval_steps)))
    if method.name == "static":
        return random_static(allocation, seed=config.seed)
    return {"snip": snip, "magnitude": magnitude}[method.name](allocation)


def _window(config: Config, steps: int, last: int | None = None) -> Window:
    """The method's window in steps of this run: it stretches with the run, and ends at ``last`` at the latest."""
    fractions, limit = (config.method.start, config.method.end), steps if last is None else last
    start, end = (min(round(known(fraction) * steps), limit) for fraction in fractions)
    epochs = config.method.interval_epochs
    interval = config.method.interval_steps if epochs is None else epochs * (steps // known(config.epochs))
    return Window(start, end, interval or 1)
