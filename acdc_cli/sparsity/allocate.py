"""Allocations: a sparsity target, and how the weights to remove are distributed over the layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from acdc_cli.sparsity.layer import Layer
from acdc_cli.sparsity.layout import INPUT_AXIS, OUTPUT_AXIS
from acdc_cli.sparsity.rules import Share, excluded, parse_rules, share_out
from acdc_cli.sparsity.target import AllocationError, Pattern, Target, parse_target, removed_fraction

if TYPE_CHECKING:
    import torch

DISTRIBUTIONS = ("global", "uniform", "erk")
INDIVISIBLE = ("skip", "error", "flatten")
NEAREST_TARGETS = (0.999, 0.998, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.5)  # common in papers, the highest first


@dataclass(frozen=True)
class Allocation:
    """How many weights are removed, and how they are distributed over the layers.

    Attributes:
        target: fraction of weights removed, in [0, 1), or N:M (``"2:4"``). The distribution does not affect N:M.
        distribution: ``global`` ranks all weights together, ``uniform`` ranks each layer alone, ``erk`` ranks each
            layer alone at its Erdős–Rényi-Kernel density (see ``erk_removed``).
        min_layer_density: the fraction of its weights that every layer keeps in a global ranking. The total stays
            exact. ``uniform`` and ``erk`` are refused if they would keep less.
        block: (outputs, inputs) of the blocks that are removed as a whole, ranked by the sum of their magnitudes; None
            removes single weights. (4, 4) is square, (1, 4) lies along the inputs. The total is exact: in each ranking,
            one block may be removed in part.
        indivisible: treatment of layers whose channels are not divisible by the N:M group or the block. ``skip``
            leaves such a layer dense, and ``error`` raises AllocationError. ``flatten`` (N:M only) takes groups from
            the flattened (out, *kernel, in) tensor, as the reference code of AC/DC does.
        rules: separate targets for some layers, see ``rules.share_out``. A target of 0 excludes them.

    Raises:
        AllocationError: for a value outside its range, or settings that exclude each other.
    """

    target: Target
    distribution: str = "global"
    min_layer_density: float = 0.0
    block: tuple[int, ...] | None = None
    indivisible: str = "skip"
    rules: Mapping[str, Target] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", parse_target(self.target))
        object.__setattr__(self, "rules", parse_rules(self.rules))
        object.__setattr__(self, "block", None if self.block is None else tuple(self.block))
        if self.distribution not in DISTRIBUTIONS:
            raise AllocationError(f"distribution {self.distribution!r} is not one of {', '.join(DISTRIBUTIONS)}")
        if self.indivisible not in INDIVISIBLE:
            raise AllocationError(f"indivisible {self.indivisible!r} is not one of {', '.join(INDIVISIBLE)}")
        if self.block is not None:
            self._check_block(self.block)
        if not 0 <= self.min_layer_density <= 1:
            raise AllocationError(f"min_layer_density {self.min_layer_density} is outside [0, 1]")
        if isinstance(self.target, Pattern):
            return  # min_layer_density does not apply to N:M, which keeps the same fraction in every layer
        if self.min_layer_density > round(1 - self.target, 12):
            raise AllocationError(
                f"min_layer_density {self.min_layer_density} keeps more than the target {self.target} leaves; "
                f"at most {1 - self.target:.4g}"
            )

    def _check_block(self, block: tuple[int, ...]) -> None:
        if len(block) != 2 or min(block) < 1 or max(block) < 2:
            raise AllocationError(f"block {list(block)} is not [outputs, inputs], such as [4, 4] or [1, 4]")
        if self.indivisible == "flatten":
            raise AllocationError("block and indivisible=flatten do not go together; use indivisible=skip")

    @classmethod
    def of(cls, sparsity: Target | str | Allocation, **settings: Any) -> Allocation:
        """Return an allocation from a target, or from another allocation, with other fields set by name."""
        return replace(sparsity if isinstance(sparsity, Allocation) else cls(parse_target(sparsity)), **settings)


def shares_of(layers: Mapping[str, Layer], allocation: Allocation) -> list[Share]:
    """Group the layers by their target. Layers that a rule excludes, or that cannot follow their target, have none.

    Raises:
        AllocationError: if the layers cannot follow the allocation: a rule matches no layer; a pattern or block fits
            none of the layers (or, with ``indivisible=error`` or ``flatten``, not all of them); or the minimum density
            keeps more weights than the target leaves.
    """
    shares, units = [], set()
    for share in share_out(layers, parse_target(allocation.target), allocation.rules):
        bad = [name for name in share.names if not _divisible(layers[name].shape, share.target, allocation)]
        units |= {_unit(share.target, allocation)} if bad else set()
        if bad and allocation.indivisible == "error":
            raise AllocationError(
                f"{_unit(share.target, allocation)} does not divide the channels of {', '.join(bad)}; "
                "use indivisible=skip"
            )
        if bad and allocation.indivisible == "flatten":
            raise AllocationError(f"{share.target} does not divide the weights of {', '.join(bad)}; exclude them")
        good = tuple(name for name in share.names if name not in bad)
        shares += [replace(share, names=good)] if good else []
        shares += [replace(share, names=tuple(bad), target=None, why_dense="indivisible")] if bad else []
        if good and not isinstance(share.target, Pattern | None):
            _check_floor({name: layers[name].shape for name in good}, share.target, allocation)
    if len(excluded(shares)) == len(layers):
        unit = " or ".join(sorted(units))
        raise AllocationError(f"no layer's channels are divisible by {unit}, so nothing could be pruned")
    return shares


def _unit(target: Target | None, allocation: Allocation) -> str:
    if isinstance(target, Pattern):
        return str(target.group)
    assert allocation.block is not None
    return "x".join(map(str, allocation.block))


def _divisible(shape: torch.Size, target: Target | None, allocation: Allocation) -> bool:
    if target is None:
        return True
    if isinstance(target, Pattern):
        flat = allocation.indivisible == "flatten"
        return (math.prod(shape) if flat else shape[INPUT_AXIS]) % target.group == 0
    if allocation.block is None:
        return True
    return shape[OUTPUT_AXIS] % allocation.block[0] == 0 and shape[INPUT_AXIS] % allocation.block[1] == 0


def removed_per_layer(shapes: Mapping[str, torch.Size], target: float, distribution: str) -> dict[str, int]:
    """Return the number of weights that each layer loses.

    For ``global``, only the total is right: the real numbers of the layers depend on the weights, so every layer is
    assumed to lose the same fraction.
    """
    if distribution == "erk":
        return erk_removed(shapes, target)
    exact = {name: target * math.prod(shape) for name, shape in shapes.items()}
    if distribution == "global":
        return _whole(exact, round(target * sum(math.prod(shape) for shape in shapes.values())))
    return {name: round(value) for name, value in exact.items()}


def _whole(exact: Mapping[str, float], total: int) -> dict[str, int]:
    """Round numbers to whole ones that add up to the total, by the largest-remainder method."""
    whole = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in by_remainder[: total - sum(whole.values())]:
        whole[name] += 1
    return whole


def erk_removed(shapes: Mapping[str, torch.Size], target: float) -> dict[str, int]:
    """Return the number of weights that each layer loses under the Erdős–Rényi-Kernel distribution.

    The density of a layer is proportional to (sum of its dimensions) / (product of its dimensions). Layers whose
    density would exceed 1 stay dense, and the other layers share the remaining weights, so that the total stays
    ``round(target * n)`` (RigL, arXiv 1911.11134, section 3 and its code). Numbers are rounded by the largest-remainder
    method.
    """
    counts = {name: math.prod(shape) for name, shape in shapes.items()}
    total_removed = round(target * sum(counts.values()))
    kept = sum(counts.values()) - total_removed
    free = dict(shapes)
    scale = 0.0
    while free:
        dense = sum(counts[name] for name in shapes if name not in free)
        scale = (kept - dense) / sum(sum(shape) for shape in free.values())
        fullest = max(sum(shape) / counts[name] for name, shape in free.items())
        if fullest * scale <= 1:
            break
        free = {name: shape for name, shape in free.items() if sum(shape) / counts[name] < fullest}
    exact = {name: counts[name] - scale * sum(shape) for name, shape in free.items()}
    return dict.fromkeys(shapes, 0) | _whole(exact, total_removed)


def closed_form_nonzeros(layers: Mapping[str, Layer], allocation: Allocation) -> dict[str, int]:
    """Return the number of weights that each layer keeps, without looking at any weight.

    Layers in a global ranking are assumed to keep the same fraction each, because the real numbers depend on the
    weights.
    """
    left = {name: math.prod(layer.shape) for name, layer in layers.items()}
    for share in shares_of(layers, allocation):
        if share.target is None:
            continue
        shapes = {name: layers[name].shape for name in share.names}
        distribution = "uniform" if isinstance(share.target, Pattern) else allocation.distribution
        removed = removed_per_layer(shapes, removed_fraction(share.target), distribution)
        left |= {name: left[name] - removed[name] for name in share.names}
    return left


def require_something_left(layers: Mapping[str, Layer], allocation: Allocation) -> None:
    """Check that no layer loses all its weights. An empty layer passes no signal, so the network could not train.

    Methods without dense phases call this. A global ranking is not checked, because which layers it empties depends on
    the weights.

    Raises:
        AllocationError: naming a layer that would be empty, and the nearest target at which none is.
    """
    if allocation.distribution == "global":
        return
    if not (empty := _emptied(layers, allocation)):
        return
    target = removed_fraction(allocation.target)
    lower = [each for each in NEAREST_TARGETS if each < target]
    fits = next((each for each in lower if not _emptied(layers, replace(allocation, target=each))), None)
    hint = f"nearest: sparsity.target={fits}" if fits is not None else "use a lower target"
    more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
    raise AllocationError(f"{empty[0]}{more} would keep no weight; {hint}")


def _emptied(layers: Mapping[str, Layer], allocation: Allocation) -> list[str]:
    covered = {name for share in shares_of(layers, allocation) for name in share.names}
    return [name for name, left in closed_form_nonzeros(layers, allocation).items() if name in covered and not left]


def floor_of(density: float, count: int) -> int:
    """Return the minimum number of weights that a density keeps, rounded up.

    The product is first rounded to 6 decimals, because 0.3 * 90 is a little more than 27 in floating point.
    """
    return math.ceil(round(density * count, 6))


def _check_floor(shapes: Mapping[str, torch.Size], target: float, allocation: Allocation) -> None:
    """Raise AllocationError if the layers' minimum densities keep more weights than the target leaves.

    Each minimum is rounded up to a whole weight, so many small layers can exceed the target although their densities do
    not.
    """
    density = allocation.min_layer_density
    removed = removed_per_layer(shapes, target, allocation.distribution)
    together = [list(shapes)] if allocation.distribution == "global" else [[name] for name in shapes]
    for names in together:
        left = sum(math.prod(shapes[name]) - removed[name] for name in names)
        kept = sum(floor_of(density, math.prod(shapes[name])) for name in names)
        if kept > left:
            where = "" if len(names) > 1 else f" of {names[0]}"
            raise AllocationError(
                f"min_layer_density {density} keeps {kept} weights{where}, the target leaves {left}; "
                "set min_layer_density=0 or a lower target"
            )
