"""What training costs: the FLOPs of a step as a run is charged for it, and as a plan predicts it, by one function."""

from __future__ import annotations

from collections.abc import Mapping

from acdc_cli.measure.flops import LayerSize, inference_flops, step_flops
from acdc_cli.methods import Expected
from acdc_cli.sparsity.work import Work


def step_cost(work: Work, left: Mapping[str, int], sizes: Mapping[str, LayerSize]) -> int:
    """Return a training step's FLOPs for a sample.

    Args:
        work: what the method says of the epoch's steps.
        left: non-zero weights at the end of the epoch, by name.
        sizes: of the layers, for the epoch's samples.
    """
    used = dict(left) | (work.forward_weights or {})
    updated = None if work.weight_gradient_weights is None else dict(left) | work.weight_gradient_weights
    gradient = None if updated is None else inference_flops(sizes, updated)
    return step_flops(work, inference_flops(sizes), inference_flops(sizes, used), gradient)


def expected_step_cost(expected: Expected, dense: int) -> int:
    """Return the FLOPs that a step is expected to cost for a sample.

    Args:
        expected: what the method expects of the epoch.
        dense: FLOPs of the dense network's forward pass on a sample of the epoch.
    """
    gradient = None if expected.weight_gradient is None else round(expected.weight_gradient * dense)
    return step_flops(expected.work, dense, round(expected.forward * dense), gradient)
