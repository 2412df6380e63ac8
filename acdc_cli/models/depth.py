"""The depths that ResNets of three stages can have."""

from __future__ import annotations

from acdc_cli.errors import BadInput

LAYERS_OF_A_BLOCK_IN_EACH_STAGE = 6


def check_depth(depth: int, beyond_blocks: int) -> None:
    """Raise BadInput unless a depth is 6n plus the layers that are in no block, with n at least 1."""
    step = LAYERS_OF_A_BLOCK_IN_EACH_STAGE
    if depth < step + beyond_blocks or (depth - beyond_blocks) % step:
        fitting = max(step + beyond_blocks, step * round((depth - beyond_blocks) / step) + beyond_blocks)
        raise BadInput(f"model.depth={depth}: not 6n + {beyond_blocks}; nearest: model.depth={fitting}")
