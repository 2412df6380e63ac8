"""How much: a target, spread over the layers as the number of weights that each ranking removes."""

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
NEAREST_TARGETS = (0.999, 0.998, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8, 0.5)  # papers' own, the highest first


@dataclass(frozen=True)
class Allocation:
    """How much is removed, and how that is spread.

    Attributes:
        target: fraction of weights removed, in [0, 1), or N:M (``"2:4"``), which is what it is under any distribution.
        distribution: ``global`` ranks all weights together, ``uniform`` each layer alone, ``erk`` each layer alone at
            its Erdős–Rényi-Kernel density (see ``erk_removed``).
        min_layer_density: fraction of its weights that every layer keeps, whatever the global ranking says; the
            total stays exact. ``uniform`` and ``erk`` are refused where they would keep less.
        block: (outputs, inputs) of the blocks that are removed as a whole, ranked by the sum of their magnitudes; None
            removes single weights. (4, 4) is square, (1, 4) lies along the inputs. The count is exact all the same: one
            block a ranking may be cut.
        indivisible: what becomes of a layer whose channels are not divisible by the N:M group or the block: ``skip``
            leaves it dense, ``error`` refuses; ``flatten`` (N:M only) groups over the flattened (out, *kernel, in)
            tensor as in the reference code of AC/DC.
        rules: targets of their own for some layers, see ``rules.share_out``; 0 excludes.
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
            raise AllocationError(f"distribution {self.distribution!r} is none of {', '.join(DISTRIBUTIONS)}")
        if self.indivisible not in INDIVISIBLE:
            raise AllocationError(f"indivisible {self.indivisible!r} is none of {', '.join(INDIVISIBLE)}")
        if self.block is not None:
            self._check_block(self.block)
        if not 0 <= self.min_layer_density <= 1:
            raise AllocationError(f"min_layer_density {self.min_layer_density} is outside [0, 1]")
        if isinstance(self.target, Pattern):
            return  # no floor is needed
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
    def of(cls, sparsity: Target | str | Allocation, **spread: Any) -> Allocation:
        """An allocation from what a user gives: a target and any of the other fields by name."""
        return replace(sparsity if isinstance(sparsity, Allocation) else cls(parse_target(sparsity)), **spread)


def shares_of(layers: Mapping[str, Layer], allocation: Allocation) -> list[Share]:
    """Which layers share which target; those that cannot take it, or are excluded by rule, have none.

    Raises:
        AllocationError: if these layers cannot take the allocation: a rule that speaks of none, a pattern or block that
            none or not all of them can follow, a floor that keeps more whole weights than the target leaves.
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
    """Weights that each layer loses.

    A global ranking decides that by itself; here each layer loses the same fraction and only the total is as exact.
    """
    if distribution == "erk":
        return erk_removed(shapes, target)
    exact = {name: target * math.prod(shape) for name, shape in shapes.items()}
    if distribution == "global":
        return _whole(exact, round(target * sum(math.prod(shape) for shape in shapes.values())))
    return {name: round(value) for name, value in exact.items()}


def _whole(exact: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that add up to the total, given out by the largest remainder."""
    whole = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in by_remainder[: total - sum(whole.values())]:
        whole[name] += 1
    return whole


def erk_removed(shapes: Mapping[str, torch.Size], target: float) -> dict[str, int]:
    """Erdős–Rényi-Kernel: a layer's density is proportional to (sum of its dimensions) / (product of them).

    Layers that this would make more than full stay dense and the others share what is left, so that the total stays
    ``round(target * n)`` (RigL, arXiv 1911.11134, section 3 and its code). Whole weights are given out by the largest
    remainder.
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
    """Weights each layer keeps, a global share's layers each taken at the target: its ranking needs the weights."""
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
    """For methods that never train all weights in between: through a layer without a weight nothing passes.

    Which layers a global ranking empties depends on the weights, and is not said here.

    Raises:
        AllocationError: naming such a layer, and a target that leaves none empty.
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
    """Weights that a density keeps at least; rounded first, because 0.3 * 90 is a little more than 27."""
    return math.ceil(round(density * count, 6))


def _check_floor(shapes: Mapping[str, torch.Size], target: float, allocation: Allocation) -> None:
    """Floors are whole weights: in many small layers they add up to more than the fractions say."""
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
