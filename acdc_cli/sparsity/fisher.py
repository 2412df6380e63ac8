"""The block-wise inverse of the empirical Fisher matrix by Woodbury's identity, and the formulas that prune with it.

Source: WoodFisher (Singh & Alistarh, NeurIPS 2020, arXiv 2004.14340), sections 3.1 (the recursion), 3.2 (blocks) and 4
(pruning statistic and update). The tensor of a weight is flattened output by output and cut into blocks of consecutive
weights. F has no entries between two blocks.

Shapes: b blocks of s weights each. The last block is padded with weights that have no gradient, which does not change
the result for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout

CHUNK_ELEMENTS = 2**24  # temporary copies are made of so many elements at a time: 64 MB in float32
NOISE = 4  # a pivot of the inverse below so many rounding errors is not told from zero


def block_shape(count: int, block: int) -> tuple[int, int]:
    """Return (b, s): the number of blocks that a tensor of ``count`` weights is cut into, and their size."""
    size = min(block, count)
    return -(-count // size), size


def inverse_bytes(counts: Iterable[int], block: int, element_bytes: int = 4) -> int:
    """Return the bytes that the inverses take for tensors with these counts: about weights * block * element_bytes."""
    return sum(blocks * size * size for blocks, size in (block_shape(count, block) for count in counts)) * element_bytes


def in_blocks(tensor: Tensor, block: int, layout: Layout = OUTPUTS_FIRST, there: Tensor | None = None) -> Tensor:
    """Cut a weight, its gradient or its mask into blocks: (b, s), padded with zeros.

    Elements are in the order of (out, in / groups, *kernel), whatever the layout and the memory format.

    Args:
        there: marks the elements that the blocks are made of (bool, of the tensor's shape, at least one True). None
            means all elements.
    """
    flat = layout.outputs_first(tensor.detach())
    flat = flat.reshape(-1) if there is None else flat[layout.outputs_first(there)]
    blocks, size = block_shape(flat.numel(), block)
    return torch.nn.functional.pad(flat, (0, blocks * size - flat.numel())).view(blocks, size)


def out_of_blocks(
    blocks: Tensor, weight: Tensor, layout: Layout = OUTPUTS_FIRST, there: Tensor | None = None
) -> Tensor:
    """Undo ``in_blocks``: return blocks (b, s) as a tensor of the weight's shape, 0 where ``there`` is False."""
    shape, flat = layout.shape_outputs_first(weight.shape), blocks.reshape(-1)
    if there is None:
        return layout.as_stored(flat[: weight.numel()].view(shape))
    tensor = torch.zeros(shape, dtype=blocks.dtype, device=blocks.device)
    tensor[layout.outputs_first(there)] = flat[: count_of(weight, there)]
    return layout.as_stored(tensor)


def count_of(weight: Tensor, there: Tensor | None) -> int:
    """Return the number of elements that the blocks are made of: those marked by ``there``, or all if it is None."""
    return weight.numel() if there is None else int(there.count_nonzero())


def scaled_identity(damping: Tensor, size: int) -> Tensor:
    """Return F_0^-1 = I / lambda, shape (b, s, s), for damping (b,) with one lambda for each block."""
    inverse = torch.zeros(len(damping), size, size, dtype=damping.dtype, device=damping.device)
    inverse.diagonal(dim1=1, dim2=2).copy_((1 / damping)[:, None])
    return inverse


def not_cast(tensor: Tensor) -> torch.autocast:
    """Return a context without autocast, because the caller's code or the forward pass may have autocast enabled."""
    return torch.autocast(tensor.device.type, enabled=False)


def woodbury_(inverse: Tensor, gradients: Tensor, count: int) -> None:
    """Update the inverse of F = lambda I + (1 / count) sum g g^T by k of the ``count`` gradients, in place.

    With A the inverse and G the gradients, the new inverse is A - A G (count I + G^T A G)^-1 G^T A. For k = 1 this is
    the paper's recursion. Most of the time goes into reading and writing the inverse, so k gradients at a time take
    about as long as one.

    Args:
        inverse: (b, s, s), symmetric.
        gradients: (k, b, s).
    """
    for part in _chunks(inverse):
        vectors = gradients[:, part].permute(1, 2, 0)
        products = inverse[part] @ vectors
        core = vectors.transpose(1, 2) @ products
        core.diagonal(dim1=1, dim2=2).add_(count)
        # Errors are not checked here, which would make the host wait. If the factorization fails, the result is not
        # positive definite, and is_singular finds that later.
        factor, _ = torch.linalg.cholesky_ex(core)
        scaled = torch.linalg.solve_triangular(factor, products.transpose(1, 2), upper=False)
        inverse[part] = inverse[part].baddbmm_(scaled.transpose(1, 2), scaled, alpha=-1)


def is_singular(inverse: Tensor, damping: Tensor) -> Tensor:
    """Return (b,) bool: True for blocks whose inverse is not clearly positive definite.

    In exact arithmetic every inverse is positive definite. In floating point, lambda is lost beside very large
    gradients. The smallest pivot must exceed ``NOISE`` rounding errors of I / lambda, the initial inverse.
    """
    noise = NOISE * torch.finfo(inverse.dtype).eps / damping
    found = []
    for part in _chunks(inverse):
        shifted = inverse[part].clone()
        shifted.diagonal(dim1=1, dim2=2).sub_(noise[part, None])
        _, failed = torch.linalg.cholesky_ex(shifted)
        found.append((failed != 0) | ~shifted.isfinite().all(dim=2).all(dim=1))
    return torch.cat(found)


def pruning_statistic(weights: Tensor, inverse: Tensor) -> Tensor:
    """Return rho_q = w_q^2 / (2 [F^-1]_qq), shape (b, s).

    This is the increase of the loss if weight q alone is removed and the other weights adapt to that.

    Args:
        weights: (b, s).
    """
    return weights.square() / (2 * inverse.diagonal(dim1=1, dim2=2))


def summed_update(weights: Tensor, inverse: Tensor, removed: Tensor) -> Tensor:
    """Return the paper's update of a block, shape (b, s): the sum of -w_q A e_q / A_qq over removed q, with A = F^-1.

    Each term is the cheapest update that brings its own weight to 0, where an update delta costs 1/2 delta^T F delta.
    Each term assumes that no other weight is removed. The sum for several weights is therefore neither the cheapest
    update, nor does it bring them exactly to 0; the masks do that afterwards.

    Args:
        weights: (b, s).
        removed: (b, s) bool.
    """
    scaled = (weights / inverse.diagonal(dim1=1, dim2=2)).masked_fill(~removed, 0.0)
    return -(inverse @ scaled.unsqueeze(2)).squeeze(2)


def joint_update(weights: Tensor, inverse: Tensor, removed: Tensor) -> Tensor:
    """Return the cheapest update of a block that brings all removed weights Q to 0 at once: -A_.Q (A_QQ)^-1 w_Q.

    The shape is (b, s). For a single removed weight, the result equals ``summed_update``. If most of a block is
    removed, the update can be so large that the quadratic approximation of the loss no longer holds.

    Args:
        weights: (b, s).
        removed: (b, s) bool.
    """
    update = torch.empty_like(weights)
    for part in _chunks(inverse):
        gone = removed[part]
        system = inverse[part].masked_fill(~(gone[:, :, None] & gone[:, None, :]), 0.0)
        system.diagonal(dim1=1, dim2=2).add_((~gone).to(system.dtype))
        right = (weights[part] * gone).unsqueeze(2)
        multipliers = torch.cholesky_solve(right, torch.linalg.cholesky(system))
        update[part] = -(inverse[part] @ multipliers).squeeze(2)
    return update


def _chunks(inverse: Tensor) -> Iterator[slice]:
    """Yield slices of consecutive blocks with at most CHUNK_ELEMENTS elements together, but at least one block."""
    blocks, size = inverse.shape[:2]
    step = max(1, CHUNK_ELEMENTS // size**2)
    for start in range(0, blocks, step):
        yield slice(start, start + step)
