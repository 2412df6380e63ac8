"""The block-wise inverse of the empirical Fisher matrix, by Woodbury's identity, and what pruning reads off it.

WoodFisher (Singh & Alistarh, NeurIPS 2020, arXiv 2004.14340), sections 3.1 (the recursion), 3.2 (blocks) and 4 (pruning
statistic and update). A weight's tensor is flattened output by output and cut into blocks of consecutive weights; F has
no entries between two blocks. Shapes: b blocks of s weights each, the last one padded with weights that have no
gradient, which changes nothing for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout

CHUNK_ELEMENTS = 2**24  # of the blocks that temporary copies are made of at a time: 64 MB in float32
NOISE = 4  # roundings below which a pivot of the inverse tells nothing


def block_shape(count: int, block: int) -> tuple[int, int]:
    """(b, s): how many blocks a tensor of ``count`` weights makes, and of what size."""
    size = min(block, count)
    return -(-count // size), size


def inverse_bytes(counts: Iterable[int], block: int, element_bytes: int = 4) -> int:
    """Memory that the inverses of tensors of these many weights take: about weights * block * element_bytes."""
    return sum(blocks * size * size for blocks, size in (block_shape(count, block) for count in counts)) * element_bytes


def in_blocks(tensor: Tensor, block: int, layout: Layout = OUTPUTS_FIRST, there: Tensor | None = None) -> Tensor:
    """A weight's tensor, its gradient or mask, as (b, s), padded with zeros.

    The order is that of (out, in / groups, *kernel), whatever the layout and the memory format.

    Args:
        there: which elements the blocks are made of (bool, of the tensor's shape, at least one); None: all.
    """
    flat = layout.outputs_first(tensor.detach())
    flat = flat.reshape(-1) if there is None else flat[layout.outputs_first(there)]
    blocks, size = block_shape(flat.numel(), block)
    return torch.nn.functional.pad(flat, (0, blocks * size - flat.numel())).view(blocks, size)


def out_of_blocks(
    blocks: Tensor, weight: Tensor, layout: Layout = OUTPUTS_FIRST, there: Tensor | None = None
) -> Tensor:
    """The inverse of ``in_blocks``: (b, s) as a tensor of the weight's shape; 0 where ``there`` is False."""
    shape, flat = layout.shape_outputs_first(weight.shape), blocks.reshape(-1)
    if there is None:
        return layout.as_stored(flat[: weight.numel()].view(shape))
    spread = torch.zeros(shape, dtype=blocks.dtype, device=blocks.device)
    spread[layout.outputs_first(there)] = flat[: count_of(weight, there)]
    return layout.as_stored(spread)


def count_of(weight: Tensor, there: Tensor | None) -> int:
    """The weights that blocks are made of: those that ``there`` marks; all of them for None."""
    return weight.numel() if there is None else int(there.count_nonzero())


def scaled_identity(damping: Tensor, size: int) -> Tensor:
    """F_0^-1 = I / lambda, (b, s, s), for one lambda a block: damping (b,)."""
    inverse = torch.zeros(len(damping), size, size, dtype=damping.dtype, device=damping.device)
    inverse.diagonal(dim1=1, dim2=2).copy_((1 / damping)[:, None])
    return inverse


def not_cast(tensor: Tensor) -> torch.autocast:
    """A region in which nothing is cast: the caller may be inside one of autocast, or a pass have left one open."""
    return torch.autocast(tensor.device.type, enabled=False)


def woodbury_(inverse: Tensor, gradients: Tensor, count: int) -> None:
    """Take k of ``count`` gradients into the inverse of F = lambda I + (1 / count) sum g g^T, in place.

    A - A G (count I + G^T A G)^-1 G^T A, which for k = 1 is the paper's recursion; k at a time read and write the
    inverse, which is what takes the time, once and not k times.

    Args:
        inverse: (b, s, s), symmetric.
        gradients: (k, b, s).
    """
    for part in _chunks(inverse):
        vectors = gradients[:, part].permute(1, 2, 0)
        products = inverse[part] @ vectors
        core = vectors.transpose(1, 2) @ products
        core.diagonal(dim1=1, dim2=2).add_(count)
        # A factor that cannot be had leaves numbers that is_singular finds: nothing is looked at here.
        factor, _ = torch.linalg.cholesky_ex(core)
        scaled = torch.linalg.solve_triangular(factor, products.transpose(1, 2), upper=False)
        inverse[part] = inverse[part].baddbmm_(scaled.transpose(1, 2), scaled, alpha=-1)


def is_singular(inverse: Tensor, damping: Tensor) -> Tensor:
    """(b,) bool: where the inverse is not positive definite by more than the rounding of I / lambda that it began as.

    Exactly, it always is; F is singular to the arithmetic at hand where gradients are so large that lambda is lost.
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
    """rho_q = w_q^2 / (2 [F^-1]_qq), (b, s): what the loss grows by if weight q alone is removed and the others react.

    Args:
        weights: (b, s).
    """
    return weights.square() / (2 * inverse.diagonal(dim1=1, dim2=2))


def summed_update(weights: Tensor, inverse: Tensor, removed: Tensor) -> Tensor:
    """The paper's change of a block, (b, s): the sum of -w_q A e_q / A_qq over the removed weights, A = F^-1.

    Each is the least change that takes its own weight to 0, 1/2 delta^T F delta being what it costs, as if the others
    stayed; so of several the sum is not the least, nor are they at 0, where the masks then put them.

    Args:
        weights: (b, s).
        removed: (b, s) bool.
    """
    scaled = (weights / inverse.diagonal(dim1=1, dim2=2)).masked_fill(~removed, 0.0)
    return -(inverse @ scaled.unsqueeze(2)).squeeze(2)


def joint_update(weights: Tensor, inverse: Tensor, removed: Tensor) -> Tensor:
    """The least change of a block, (b, s), that takes all removed weights to 0 at once: -A_.Q (A_QQ)^-1 w_Q.

    Of a single weight the same as ``summed_update``. Of most of a block it can be a large one, far from where the
    quadratic holds.

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
    """Runs of blocks that together have at most CHUNK_ELEMENTS elements; one block at least."""
    blocks, size = inverse.shape[:2]
    step = max(1, CHUNK_ELEMENTS // size**2)
    for start in range(0, blocks, step):
        yield slice(start, start + step)
