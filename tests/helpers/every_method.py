"""Every registered method, for the tests that hold for all of them: an added method is tested without being named.

A suite names special settings alone, such as keys that let a method act often in a short run. A method that it does not
name is built from the defaults in ``conf/method/NAME.yaml``. Methods of plug-ins that ``ACDC_PLUGINS`` names take part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schedule import timeline_of
from acdc_cli.methods import Setting
from acdc_cli.parts import METHODS, MethodFacts
from acdc_cli.plugins import load_announced_plugins
from acdc_cli.sparsity import Allocation

load_announced_plugins()  # the processes of several ranks import this module too

T = TypeVar("T")
BATCH_SIZE = 8
# These two have suites of their own: AC/DC's schedule is tested at length, and dense prunes nothing.
WITH_OWN_SUITES = ("acdc", "dense")


def every_method(
    special: Mapping[str, T], usual: Callable[[str], T], without: tuple[str, ...] = WITH_OWN_SUITES
) -> dict[str, T]:
    """Return a case for each registered method.

    Args:
        special: cases that are made by hand. A method may have several, under names of their own.
        usual: takes the name of a method that has none, and returns its case.
        without: methods that are left out.
    """
    others = [name for name in METHODS.names() if name not in special and name not in without]
    return {**special, **{name: usual(name) for name in others}}


def facts_of(name: str) -> MethodFacts:
    """Return what a method declares about itself. ``woodfisher_gradual`` is a case of ``woodfisher``."""
    facts: MethodFacts = METHODS.part(name.removesuffix("_gradual")).facts
    return facts


def sparse_methods() -> list[str]:
    """Return the names of all methods that leave a sparse model."""
    return [name for name in METHODS.names() if facts_of(name).makes_sparse_model]


def learns_sparsity(name: str) -> bool:
    """Return True for a method that the target only bends."""
    return facts_of(name).decided_by is not None


def prunes_trained(name: str) -> bool:
    """Return True for a method that starts from a trained dense network."""
    return facts_of(name).prunes_trained


def goes_with_spread(name: str, spread: str) -> bool:
    """Return whether a method takes a spread of ``method_cases.SPREADS``, by what it declares about itself."""
    facts = facts_of(name)
    refused = {
        "global": facts.within_layers,
        "block": not facts.takes_blocks,
        "2:4": not facts.takes_patterns,
        "uniform": learns_sparsity(name),
        "erk": learns_sparsity(name),
    }
    return not refused.get(spread, False)


def from_defaults(name: str, target: float | str, *, steps: int, epochs: int, **spread: Any) -> Any:
    """Build a method by its YAML file's defaults, not yet attached.

    Args:
        name: of the method.
        target: of the sparsity.
        steps: optimizer steps an epoch.
        epochs: of the run.
        spread: as ``Allocation.of`` takes it.
    """
    config = compose_config([f"method={name}", f"epochs={epochs}", f"sparsity.target={target}"])
    if not spread and facts_of(name).within_layers:
        spread = {"distribution": "erk"}
    setting = Setting(
        epochs=epochs,
        timeline=timeline_of(config),
        allocation=Allocation.of(target, **spread),
        samples=steps * BATCH_SIZE,
        batch_size=BATCH_SIZE,
        seed=3,
        gradient_passes=_without_passes,
        say=lambda line: None,
    )
    return config.method.options.build(setting)


def _without_passes(batches: int, batch_size: int) -> Iterator[None]:
    raise NotImplementedError(
        "a method with passes of its own needs a special case, whose passes know the test's model"
    )
