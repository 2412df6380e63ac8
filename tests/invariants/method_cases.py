"""Every method, and the ways to spread its sparsity and to train that it is put through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from invariant_cases import AXES, Case

from acdc_cli.sparsity import Timeline
from acdc_cli.sparsity.methods import DSD, TopKAST, gmp, iht, magnitude, random_static, rigl, set_, snip
from acdc_cli.sparsity.window import Window

# Three epochs of four steps (of which the scaler may skip some).
STEPS, EPOCHS = 4, 3
METHODS: dict[str, Callable[..., Any]] = {
    "gmp": lambda target, **spread: gmp(target, Window(2, 6, 2), initial_sparsity=0.1, **spread),
    "rigl": lambda target, **spread: rigl(target, Window(0, 7, 2), drop_fraction=0.5, seed=3, **spread),
    "set": lambda target, **spread: set_(target, Window(0, 7, 2), drop_fraction=0.5, seed=3, **spread),
    "top_kast": lambda target, **spread: TopKAST(target, backward_sparsity=0.25, interval=2, **spread),
    "dsd": lambda target, **spread: DSD(
        Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3)]), target, **spread
    ),
    "iht": lambda target, **spread: iht(target, Window(0, 99, 1), **spread),
    "static": lambda target, **spread: random_static(target, seed=3, **spread),
    "snip": lambda target, **spread: snip(target, **spread),
    "magnitude": lambda target, **spread: magnitude(target, **spread),
}
# The target, how it is spread, and the weights that go of a convolution's 72 and a linear layer's 32. Blocks and N:M do
# not divide the convolution's two input channels, which leaves it dense.
SPREADS: dict[str, tuple[float | str, dict[str, Any], int]] = {
    "global": (0.75, {}, 78),
    "uniform": (0.75, {"distribution": "uniform"}, 54 + 24),
    "erk": (0.75, {"distribution": "erk"}, 78),
    "rule": (0.75, {"distribution": "uniform", "rules": {"first": 0}}, 24),
    "block": (0.75, {"block": (2, 4)}, 24),
    "2:4": ("2:4", {}, 16),
}
MOVES_SINGLE_WEIGHTS = ("rigl", "set")
ONLY_FRACTIONS = ("gmp", "top_kast", *MOVES_SINGLE_WEIGHTS)
METHOD_AXES: dict[str, tuple[Any, ...]] = {"method": tuple(METHODS), "spread": tuple(SPREADS), **AXES}


@dataclass(frozen=True)
class MethodCase:
    """A method, a spread, and a way to train."""

    method: str
    spread: str
    how: Case

    def __str__(self) -> str:
        return f"{self.method}-{self.spread}-{self.how}"


def goes_together(values: dict[str, Any]) -> bool:
    """RigL and SET move single weights of a layer; N:M has no halfway and no room to grow. See also ``exists``."""
    method, spread = values.get("method"), values.get("spread")
    if method in MOVES_SINGLE_WEIGHTS and spread in ("global", "block"):
        return False
    if method in ONLY_FRACTIONS and spread == "2:4":
        return False
    return values.get("implementation") != "fused" or values.get("optimizer") not in ("nadam", "lamb")


def case_of(values: dict[str, Any]) -> MethodCase:
    """From a value of each axis."""
    return MethodCase(values["method"], values["spread"], Case(*(values[axis] for axis in AXES)))
