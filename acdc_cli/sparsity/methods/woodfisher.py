"""WoodFisher: pruning by second-order information (Singh & Alistarh, NeurIPS 2020, arXiv 2004.14340)."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.fisher import (
    in_blocks,
    joint_update,
    not_cast,
    out_of_blocks,
    pruning_statistic,
    summed_update,
)
from acdc_cli.sparsity.fisher_estimate import inverse_fisher
from acdc_cli.sparsity.fisher_sample import Passes, working_dtype
from acdc_cli.sparsity.gradual import pruned_further, require_initial, shares_at
from acdc_cli.sparsity.moving import Masks, MaskUpdate, MovingMasks
from acdc_cli.sparsity.target import require_fractions
from acdc_cli.sparsity.window import Window

AT_ONCE = Window(0, 0, 1)


def woodfisher(
    sparsity: float | str | Allocation,
    passes: Passes,
    *,
    samples: int,
    block: int,
    damping: float,
    joint: bool = False,
    compact: bool = False,
    update_scale: float = 1.0,
    window: Window = AT_ONCE,
    initial_sparsity: float = 0.0,
    power: float = 3.0,
    say: Callable[[str], None] = warnings.warn,
    **distributed: Any,
) -> MovingMasks:
    """Remove the weights of the smallest rho_q = w_q^2 / (2 [F^-1]_qq), and move the others to make good for it.

    At the beginning of an epoch, at fixed weights; between two prunings the masks are fixed, and what is pruned never
    comes back. One-shot by default: attach it to a trained network.

        def passes(model):  # a mini-batch each; the gradient is the mean over it
            for images, labels in small_batches:
                F.cross_entropy(model(images), labels).backward()
                yield

        method = woodfisher(0.9, passes, samples=400, block=100, damping=1e-5).attach(model, optimizer)

    ``model`` is out of its wrappers, in evaluation mode and without gradients; both are put back. Over several ranks
    each one passes over mini-batches of its own, and their gradients are averaged.

    Args:
        sparsity: the final one: a fraction, N:M (one-shot), or an ``Allocation``; global in the paper.
        passes: called with the model whenever a Fisher matrix is due; ``weight.grad`` is read at each of its items.
        samples: gradients, N, of a Fisher matrix; it begins at the first ones of ``passes``.
        block: consecutive weights of a layer that are seen together; memory is about weights * block * 4 bytes.
        damping: lambda, of F = lambda I + 1/N sum g g^T. A block that it leaves singular gets more, and that is said.
        joint: whether the weights that stay react to all that go at once, which is the optimum of the quadratic, and
            not, as in the paper, to each by itself.
        compact: whether blocks are of consecutive weights that are still there, and so reach further the more are gone
            (the paper's code: woodfisherblockdynamic); else of all, where those that are gone have no gradient.
        update_scale: what the change of the weights that stay is multiplied by (its scale-prune-update); 0: they stay.
        window: the epochs that prune.
        initial_sparsity, power: of the gradual schedule, as ``gmp``'s.
        say: takes a line for the user.
        distributed: as ``ACDC``'s; blocks that go as a whole, ``block`` there, take an ``Allocation``.

    Raises:
        AllocationError: of more than one pruning, for N:M, or a start above some layers' target.
        ValueError, when it prunes: for fewer gradients than ``samples``.
        MemoryError, when it prunes: for a ``block`` whose inverses do not fit; it says what they need.
        FloatingPointError, when it prunes: for a gradient that is not finite.
    """
    allocation = Allocation.of(sparsity, **distributed)
    if window.last > window.start:
        targets = (allocation.target, *allocation.rules.values())
        require_fractions(*targets, method="woodfisher")
        require_initial(initial_sparsity, targets)

    pruning = _Pruning(
        allocation,
        passes,
        samples,
        block,
        damping,
        joint,
        compact,
        update_scale,
        window,
        initial_sparsity,
        power,
        say,
    )
    return MovingMasks(allocation, MaskUpdate(by_weights=pruning.prune, when_epoch_begins=window.is_due))


@dataclass(frozen=True)
class _Pruning:
    """The arguments of ``woodfisher``."""

    allocation: Allocation
    passes: Passes
    samples: int
    block: int
    damping: float
    joint: bool
    compact: bool
    update_scale: float
    window: Window
    initial_sparsity: float
    power: float
    say: Callable[[str], None]

    def prune(self, covered: Covered, epoch: int) -> Masks:
        """Masks at the beginning of an epoch; the weights that stay are moved."""
        shares = shares_at(covered.ranked, self.window.progress(epoch), self.initial_sparsity, self.power)
        pruned = {name: covered.weights[name] for share in shares if share.target is not None for name in share.names}
        there = {name: covered.masks[name].to(weight.device) for name, weight in pruned.items()} if self.compact else {}
        pruned = {name: weight for name, weight in pruned.items() if name not in there or there[name].any()}
        layouts = {name: share.layout(name) for share in shares for name in share.names}
        inverses = inverse_fisher(
            covered.model,
            pruned,
            self.passes,
            samples=self.samples,
            block=self.block,
            damping=self.damping,
            say=self.say,
            layouts=layouts,
            there=there,
        )
        blocks = {
            name: in_blocks(weight, self.block, layouts[name], there.get(name)).to(working_dtype(weight))
            for name, weight in pruned.items()
        }
        scores: dict[str, Tensor] = dict(covered.weights)
        for name, weight in pruned.items():
            statistic = pruning_statistic(blocks[name], inverses[name])
            scores[name] = out_of_blocks(statistic, weight, layouts[name], there.get(name))
        masks = pruned_further(scores, covered.masks, self.allocation, shares)
        for name, weight in pruned.items():
            removed = in_blocks(~masks[name], self.block, layouts[name], there.get(name))
            with torch.no_grad(), not_cast(weight):
                update = (joint_update if self.joint else summed_update)(blocks[name], inverses.pop(name), removed)
                change = out_of_blocks(update, weight, layouts[name], there.get(name)).to(weight.dtype)
                weight.add_(change, alpha=self.update_scale)
        return masks

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        for name in ("passes", "say"):
            qualified_name = getattr(getattr(self, name), "__qualname__", "")
            if "<" in qualified_name:  # <locals>, <lambda>
                raise pickle.PicklingError(
                    f"woodfisher cannot be pickled with {name}={qualified_name}: a function inside a function has no "
                    "name to be found by; define it at the top of a module"
                )
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
