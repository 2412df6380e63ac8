"""The cost of a training step in FLOPs. A run is charged, and a plan predicts, by the same formula."""

from __future__ import annotations

from collections.abc import Mapping

from acdc_cli.measure.flops import LayerSize, inference_flops, step_flops
from acdc_cli.methods import Expected
from acdc_cli.sparsity.work import Work


def step_cost(work: Work, left: Mapping[str, int], sizes: Mapping[str, LayerSize]) -> int:
    """Return the FLOPs of a training step per sample.

    Args:
        work: the parts of the epoch's steps that skip zero weights.
        left: number of non-zero weights of each layer at the end of the epoch, by name.
        sizes: sizes of the layers for the samples of the epoch, by name.
    """
    used = dict(left) | (work.forward_weights or {})
    updated = None if work.weight_gradient_weights is None else dict(left) | work.weight_gradient_weights
    gradient = None if updated is None else inference_flops(sizes, updated)
    return step_flops(work, inference_flops(sizes), inference_flops(sizes, used), gradient)


def expected_step_cost(expected: Expected, dense: int) -> int:
    """Return the expected FLOPs of a training step per sample.

    Args:
        expected: the method's prediction for the epoch.
        dense: FLOPs of the dense network's forward pass on a sample of the epoch.
    """
    gradient = None if expected.weight_gradient is None else round(expected.weight_gradient * dense)
    return step_flops(expected.work, dense, round(expected.forward * dense), gradient)
