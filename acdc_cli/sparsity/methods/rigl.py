"""RigL (Evci et al., ICML 2020, arXiv 1911.11134) and SET (Mocanu et al. 2018, arXiv 1707.04780)."""

from __future__ import annotations

from functools import partial
from typing import Any

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.methods.fixed import random_masks
from acdc_cli.sparsity.moving import Masks, MaskUpdate, MovingMasks
from acdc_cli.sparsity.rewiring import random_scores, rewire
from acdc_cli.sparsity.target import require_fractions, require_layer_by_layer
from acdc_cli.sparsity.window import Window, cosine_drop_fraction


def rigl(
    sparsity: float | str | Allocation, window: Window, *, drop_fraction: float = 0.3, seed: int = 0, **distributed: Any
) -> MovingMasks:
    """Begin at random; at each due step drop the smallest weights and grow where gradients are largest (Algorithm 1).

    In every layer, alpha / 2 (1 + cos(pi t / T_end)) of its connections move. New ones begin at 0, with the optimizer's
    initial state. Such a step takes the place of a step of the optimizer, and its gradients are those of the batch,
    over all ranks. The first move is after dT steps: at step 0, where Algorithm 1 moves too, the masks have just been
    drawn.

    Where an epoch ends with a move, its model is the one right after it: the new connections are zeros until the next
    step, and count as zeros in the epoch's ``sparsity`` and ``inference_flops``; ``train_flops`` counts connections.

    Args:
        sparsity: kept throughout: a fraction, or an ``Allocation`` (uniform or ERK).
        window: dT is its interval, T_end its end, at which nothing moves any more; in the paper 100 steps, and three
            quarters of the run.
        drop_fraction: alpha.
        seed: of the first masks.
        distributed: as ``ACDC``'s.

    Raises:
        AllocationError: for N:M, or a distribution that is not layer by layer.
    """
    allocation = _checked(Allocation.of(sparsity, **distributed), "rigl")

    update = MaskUpdate(
        at_start=partial(random_masks, allocation, seed),
        when_by_gradients=partial(_is_due_inside, window),
        by_gradients=partial(_grow_by_gradient, window, drop_fraction),
        replaces_step=True,
    )
    return MovingMasks(allocation, update)


def _is_due_inside(window: Window, step: int) -> bool:
    return 0 < step < window.end and window.is_due(step)


def _grow_by_gradient(window: Window, drop_fraction: float, covered: Covered, step: int) -> Masks:
    gradients = {name: weight.grad for name, weight in covered.weights.items()}
    return _moved(covered, gradients, cosine_drop_fraction(drop_fraction, step, window.end))


def set_(
    sparsity: float | str | Allocation, window: Window, *, drop_fraction: float = 0.3, seed: int = 0, **distributed: Any
) -> MovingMasks:
    """SET as RigL's paper compares it: as ``rigl``, but new connections are drawn at random, after an ordinary step.

    SET itself moves a constant 0.3 after every epoch, the smallest positive and the smallest negative weights each for
    themselves, and draws the new ones' values too; here magnitudes decide, the share follows the cosine, and new ones
    begin at 0.
    """
    allocation = _checked(Allocation.of(sparsity, **distributed), "set")

    update = MaskUpdate(
        at_start=partial(random_masks, allocation, seed),
        when_by_weights=partial(_is_due_later, window),
        by_weights=partial(_grow_at_random, window, drop_fraction, seed),
    )
    return MovingMasks(allocation, update)


def _is_due_later(window: Window, step: int) -> bool:
    return step > 0 and window.is_due(step)


def _grow_at_random(window: Window, drop_fraction: float, seed: int, covered: Covered, step: int) -> Masks:
    scores = random_scores(covered.weights, seed, step)
    return _moved(covered, scores, cosine_drop_fraction(drop_fraction, step, window.end))


def _checked(allocation: Allocation, method: str) -> Allocation:
    require_fractions(allocation.target, *allocation.rules.values(), method=method)
    require_layer_by_layer(allocation.distribution, method)
    return allocation


def _moved(covered: Covered, growth: dict[str, Any], fraction: float) -> Masks:
    """Layer by layer; layers that stay dense have nothing to move, and one that got no gradient does not move."""
    masks = covered.masks.snapshot()
    for share in covered.ranked:
        for name in share.names if share.target is not None else ():
            moved = int(fraction * int(masks[name].count_nonzero()))
            if moved and growth[name] is not None:
                masks[name] = rewire(masks[name], covered.weights[name], growth[name], moved)
    return masks
