"""WoodFisher: pruning by second-order information (Singh & Alistarh, NeurIPS 2020, arXiv 2004.14340)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.fisher import in_blocks, joint_update, not_cast, present, pruning_statistic, summed_update
from acdc_cli.sparsity.fisher_estimate import inverse_fisher
from acdc_cli.sparsity.fisher_sample import Passes, working_dtype
from acdc_cli.sparsity.gradual import pruned_further, require_initial, shares_at
from acdc_cli.sparsity.moving import Masks, MovingMasks, Rule
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
    **spread: Any,
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
        spread: as ``ACDC``'s; blocks that go as a whole, ``block`` there, take an ``Allocation``.

    Raises:
        AllocationError: of more than one pruning, for N:M, or a start above some layers' target.
        ValueError, when it prunes: for fewer gradients than ``samples``.
        MemoryError, when it prunes: for a ``block`` whose inverses do not fit; it says what they need.
        FloatingPointError, when it prunes: for a gradient that is not finite.
    """
    allocation = Allocation.of(sparsity, **spread)
    if window.last > window.start:
        targets = (allocation.target, *allocation.rules.values())
        require_fractions(*targets, method="woodfisher")
        require_initial(initial_sparsity, targets)

    def prune(covered: Covered, epoch: int) -> Masks:
        shares = shares_at(covered.ranked, window.progress(epoch), initial_sparsity, power)
        pruned = {name: covered.weights[name] for share in shares if share.target is not None for name in share.names}
        there = {name: covered.masks[name].to(weight.device) for name, weight in pruned.items()} if compact else {}
        pruned = {name: weight for name, weight in pruned.items() if name not in there or there[name].any()}
        inverses = inverse_fisher(
            covered.model, pruned, passes, samples=samples, block=block, damping=damping, say=say, there=there
        )
        blocks = {
            name: in_blocks(present(weight, there.get(name)), block).to(working_dtype(weight))
            for name, weight in pruned.items()
        }
        scores: dict[str, Tensor] = dict(covered.weights)
        for name, weight in pruned.items():
            scores[name] = _out_of_blocks(pruning_statistic(blocks[name], inverses[name]), weight, there.get(name))
        masks = pruned_further(scores, covered.masks, allocation, shares)
        for name, weight in pruned.items():
            removed = in_blocks(present(~masks[name], there.get(name)), block)
            with torch.no_grad(), not_cast(weight):
                update = (joint_update if joint else summed_update)(blocks[name], inverses.pop(name), removed)
                weight.add_(_out_of_blocks(update, weight, there.get(name)).to(weight.dtype), alpha=update_scale)
        return masks

    return MovingMasks(allocation, Rule(by_weights=prune, when_epoch_begins=window.is_due))


def _out_of_blocks(blocks: Tensor, weight: Tensor, there: Tensor | None) -> Tensor:
    """In the weight's shape; 0 where ``there`` says that blocks have nothing."""
    flat = blocks.reshape(-1)
    if there is None:
        return flat[: weight.numel()].view(weight.shape)
    spread = torch.zeros(weight.shape, dtype=blocks.dtype, device=blocks.device)
    spread[there] = flat[: int(there.count_nonzero())]
    return spread
