"""Describe which parts of a training step skip zero weights. Run and plan compute the step's FLOPs from this.

This module is pure data and needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Which part of a training step skips zero weights in the current epoch; the rest is charged as dense.

    A step costs a forward pass, the error back-propagated to the inputs, and the weight gradients (AC/DC, appendix
    C.2). F is the forward cost of the dense network, f that of the weights that are not zero.

    Attributes:
        forward_skips_zeros: the forward pass costs f and not F.
        error_skips_zeros: the back-propagated error costs f and not F.
        weight_gradient_skips_zeros: the weight gradients cost f and not F.
        dense_gradient_share: the fraction of steps that take the gradients of all weights, while other steps do not.
        weight_gradient_weights: number of weights with a gradient in each layer, by name, if these are neither all
            weights nor the non-zero ones.
        forward_weights: number of weights that the forward pass uses in each layer, by name, if this is not the number
            of non-zero weights at the end of the epoch.
        passes: how often forward pass, back-propagation and weight gradients are each done.
    """

    forward_skips_zeros: bool
    error_skips_zeros: bool
    weight_gradient_skips_zeros: bool
    dense_gradient_share: float = 0.0
    weight_gradient_weights: dict[str, int] | None = None
    forward_weights: dict[str, int] | None = None
    passes: int = 1


def dense_work(passes: int = 1) -> Work:
    """Return the work of a step that skips nothing: 3F, or ``passes`` times as much."""
    return Work(False, False, False, passes=passes)


def sparse_work(
    dense_gradient_share: float = 0.0,
    *,
    weight_gradient_weights: dict[str, int] | None = None,
    forward_weights: dict[str, int] | None = None,
) -> Work:
    """Return the work of a step that uses the non-zero weights alone: 3f. The arguments are fields of ``Work``."""
    return Work(True, True, True, dense_gradient_share, weight_gradient_weights, forward_weights)


def alternating_work(is_sparse: bool) -> Work:
    """Return AC/DC's work (appendix C.2): 3f in a sparse phase, and 2f + F in a dense one, where all weights learn."""
    return Work(True, True, weight_gradient_skips_zeros=is_sparse)
